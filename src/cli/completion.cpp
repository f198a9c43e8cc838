// `orrery completion bash|zsh`: what a shell needs to complete commands, options, files and the
// keys of --set. Made from the lists that the program itself reads, so that it cannot lag behind.
#include <cctype>
#include <functional>
#include <iostream>
#include <set>
#include <string_view>

#include "commands.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/command_line.h"
#include "orrery/config/load.h"
#include "orrery/config/model_commands.h"
#include "orrery/config/report_commands.h"

namespace orrery::cli {

namespace {

using base::concat;

struct CommandHelp {
  const char* name;
  std::string (*options)();
};
constexpr CommandHelp kCommands[] = {
    {"train", config::train_options_help},       {"evaluate", config::evaluate_options_help},
    {"plan", config::plan_options_help},         {"score", config::score_options_help},
    {"generate", config::generate_options_help}, {"convert", config::convert_options_help},
    {"inspect", config::inspect_options_help},   {"verify", config::verify_options_help},
    {"report", config::report_options_help},     {"watch", config::watch_options_help},
    {"plot", config::plot_options_help},         {"compare", config::compare_options_help},
    {"doctor", config::doctor_options_help}};

/// The `--names` of a text of help.
std::string options_in(std::string_view help) {
  std::set<std::string> names;
  for (size_t at = help.find("--"); at != std::string_view::npos; at = help.find("--", at + 2)) {
    size_t end = at + 2;
    while (end < help.size() && (std::islower(help[end]) != 0 || help[end] == '-')) ++end;
    const bool is_one = at == 0 || help[at - 1] == ' ' || help[at - 1] == '\n';
    if (is_one && end > at + 2) names.emplace(help.substr(at, end - at));
  }
  return base::join(std::vector<std::string>(names.begin(), names.end()), " ");
}

std::string names_of(const config::Schema& schema) {
  std::vector<std::string> names;
  for (const config::FieldInfo& field : schema) names.push_back(field.name);
  return base::join(names, " ");
}

/// Of all calls, and of every interface.
std::string call_keys() {
  std::set<std::string> names;
  const auto add = [&](const config::Schema& schema) {
    for (const config::FieldInfo& field : schema) names.insert(field.name);
  };
  add(config::schema_of_section("call.x"));
  for (const auto& [interface, schema] : algorithm::interface_schemas()) add(schema);
  return base::join(std::vector<std::string>(names.begin(), names.end()), " ");
}

/// A function of the shell that prints what `of` gives for each name.
std::string case_function(const std::string& function, const std::vector<std::string>& names,
                          const std::function<std::string(const std::string&)>& of) {
  std::string text = concat(function, "() {\n  case $1 in\n");
  for (const std::string& name : names) {
    text += concat("    ", name, ") echo \"", of(name), "\" ;;\n");
  }
  return text + "  esac\n}\n";
}

/// What is the same whatever the lists are. Sections that a user names (roles, calls, data sets)
/// are read from the configuration on the line.
constexpr const char* kScript = R"bash(
_orrery_keys() {
  local config=$1 section
  for section in experiment layout checkpoint evaluate export dynamic_sampling; do
    printf "$section.%s=\n" $(_orrery_section_keys $section)
  done
  [ -f "$config" ] || return
  local files=("$config")
  while read -r section; do
    files+=("$(dirname "$config")/$section")
  done < <(sed -nE 's/^include *= *([^ #]+).*/\1/p' "$config")
  sed -nE 's/^\[((model|call|dataset|evaluate)\.[^]]+)\].*/\1/p' "${files[@]}" | sort -u |
  while read -r section; do
    printf "$section.%s=\n" $(_orrery_section_keys "${section%%.*}.")
  done
}
_orrery() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} config
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "$_orrery_commands" -- "$word"))
  elif [ "$before" = --set ]; then
    for config in "${COMP_WORDS[@]:2}"; do [[ $config == *.cfg ]] && break; done
    COMPREPLY=($(compgen -W "$(_orrery_keys "$config")" -- "$word"))
    compopt -o nospace 2>/dev/null
  elif [ "$before" = --resume ]; then
    COMPREPLY=($(compgen -W "auto off" -- "$word") $(compgen -d -- "$word"))
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$(_orrery_options "$command")" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _orrery orrery
)bash";

std::string script() {
  std::vector<std::string> commands;
  for (const CommandHelp& command : kCommands) commands.emplace_back(command.name);
  const std::string options = case_function("_orrery_options", commands, [](const auto& name) {
    for (const CommandHelp& command : kCommands) {
      if (command.name == name) return options_in(command.options());
    }
    return std::string();
  });
  const std::vector<std::string> sections = {
      "experiment",       "layout", "checkpoint", "evaluate",  "export",
      "dynamic_sampling", "model.", "dataset.",   "evaluate.", "call."};
  const std::string keys = case_function("_orrery_section_keys", sections, [](const auto& section) {
    if (section == "call.") return call_keys();
    return names_of(config::schema_of_section(section.back() == '.' ? section + "x" : section));
  });
  return concat("_orrery_commands=\"", base::join(commands, " "), " completion help version\"\n",
                options, keys, kScript);
}

}  // namespace

int run_completion(std::span<const std::string> arguments) {
  const std::string shell = arguments.empty() ? "--help" : arguments.front();
  if (arguments.size() == 1 && shell == "bash") {
    std::cout << script();
  } else if (arguments.size() == 1 && shell == "zsh") {
    std::cout
        << "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
        << script();
  } else if (arguments.size() == 1 && shell == "--help") {
    std::cout << "orrery completion bash|zsh: commands, options and keys completed by the shell\n\n"
                 "  source <(orrery completion bash)     in ~/.bashrc, or zsh in ~/.zshrc\n";
  } else {
    throw ConfigError(concat("orrery completion: unknown shell '", shell,
                             "'; write orrery completion bash or orrery completion zsh"));
  }
  return 0;
}

}  // namespace orrery::cli
