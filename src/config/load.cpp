#include "orrery/config/load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "consistency.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/config/path_advice.h"
#include "orrery/config/synonyms.h"
#include "suggestion.h"

namespace orrery::config {

namespace fs = std::filesystem;

namespace {

template <class T>
struct NameCollector {
  std::vector<std::string> names;
  template <class Value, class Owner>  // T or a base of it
  void operator()(Value Owner::*, const char* name, const char*, const Check& = {}) {
    names.emplace_back(name);
  }
};

template <class T>
std::vector<std::string> field_names() {
  NameCollector<T> collector;
  T::visit_fields(collector);
  return std::move(collector.names);
}

/// Names are parts of keys, of file names and of layouts' texts.
bool is_section_name(const std::string& name) {
  constexpr const char* kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return name.find_first_not_of(kAllowed) == std::string::npos;
}

std::optional<std::string> line_break_problem(const std::string& text) {
  if (text.find_first_of("\n\r") == std::string::npos) return std::nullopt;
  return "a value cannot contain a line break";
}

/// Relative paths are relative to the file that states them.
std::string absolute_path(const Entry& entry, const std::string& path) {
  std::error_code ignored;
  return fs::absolute(entry.folder / path, ignored).lexically_normal().string();
}

///   written  what `path` was before it was made absolute
std::optional<std::string> missing_file_problem(const std::string& path,
                                                const std::string& written) {
  try {
    if (base::exists(path)) return std::nullopt;
  } catch (const OutputError& error) {
    return error.what();
  }
  return base::concat("no such file or folder: ", path, path_advice(written));
}

class Loader {
 public:
  Loader(const Document& document, const InterfaceSchemas& interfaces, LoadResult& result)
      : document_(document), interfaces_(interfaces), result_(result) {
    for (const Entry& entry : document.entries) entries_of_[entry.section].push_back(&entry);
  }

  void load() {
    Experiment& experiment = result_.experiment;
    for (const SectionStart& section : document_.sections) {
      experiment.positions[section.name] = section.where;
    }
    for (const Entry& entry : document_.entries) {
      experiment.positions[base::concat(entry.section, ".", entry.key)] = entry.where;
      if (!entry.old_name.empty()) notice_old_name(entry);
    }
    read_section("experiment", experiment.experiment);
    read_section("layout", experiment.layout);
    read_section("checkpoint", experiment.checkpoint);
    read_section("evaluate", experiment.evaluate);
    read_section("export", experiment.export_);
    read_section("dynamic_sampling", experiment.dynamic_sampling);
    for (const SectionStart& section : document_.sections) read_named(section);
    resolve_evaluation_sets();
    std::error_code ignored;
    const fs::path output = fs::absolute(experiment.experiment.output_dir, ignored);
    if (!output.empty()) experiment.experiment.output_dir = output.lexically_normal().string();
    check_consistency(experiment, result_.problems);
  }

 private:
  void problem(const Position& where, const std::string& text, const std::string& key = {}) {
    result_.problems.push_back({where.file, where.line, text, key});
  }

  void value_problem(const Entry& entry, const std::string& text) {
    const std::string key = base::concat(entry.section, ".", entry.key);
    problem(entry.where, base::concat(key, ": ", text), key);
  }

  void missing(const SectionStart& section, const char* name, const std::string& advice = {}) {
    const std::string key = base::concat(section.name, ".", name);
    problem(section.where, base::concat(key, " is missing", advice), key);
  }

  void notice_old_name(const Entry& entry) {
    result_.notices.push_back({entry.where.file, entry.where.line,
                               base::concat(entry.section, ".", entry.old_name, " is now called ",
                                            entry.key, "; this version reads it as ", entry.key,
                                            " = ", entry.value, ", later ones will not"),
                               base::concat(entry.section, ".", entry.key)});
  }

  /// Sets one member if its name is that of the entry and the value is allowed.
  template <class T>
  struct Setter {
    Loader& loader;
    T& target;
    const Entry& entry;
    bool found = false;

    template <class Value, class Owner>  // T or a base of it
    void operator()(Value Owner::*member, const char* name, const char*, const Check& check = {}) {
      if (entry.key != name) return;
      found = true;
      std::string text = entry.value;
      const bool is_path = check.is_path(text);
      if (is_path) text = absolute_path(entry, text);
      Value value{};
      auto wrong = line_break_problem(text);
      if (!wrong) wrong = read_field(name, text, check, value);
      if (!wrong && is_path) wrong = missing_file_problem(text, entry.value);
      if (wrong) {
        loader.value_problem(entry, *wrong);
      } else {
        target.*member = std::move(value);
      }
    }
  };

  /// Reads the keys of a section into `target`; returns those that it does not know.
  template <class T>
  std::vector<const Entry*> read_fields(const std::string& section, T& target) {
    std::vector<const Entry*> unknown;
    for (const Entry* entry : entries_of_[section]) {
      Setter<T> setter{*this, target, *entry};
      T::visit_fields(setter);
      if (!setter.found) unknown.push_back(entry);
    }
    return unknown;
  }

  template <class T>
  void read_section(const std::string& section, T& target) {
    for (const Entry* entry : read_fields(section, target)) {
      problem(entry->where, base::concat("unknown key ", entry->section, ".", entry->key,
                                         meant_key(*entry, field_names<T>())));
    }
  }

  void read_named(const SectionStart& section) {
    const size_t dot = section.name.find('.');
    const std::string kind = section.name.substr(0, dot);
    const std::string name = dot == std::string::npos ? "" : section.name.substr(dot + 1);
    const bool is_set = kind == "evaluate" && dot != std::string::npos;
    const bool takes_name = kind == "dataset" || kind == "model" || kind == "call" || is_set;
    Experiment& experiment = result_.experiment;
    if (takes_name && name.empty()) {
      problem(section.where, base::concat("[", kind, "] needs a name: [", kind, ".X]"));
    } else if (takes_name && !is_section_name(name)) {
      problem(section.where, base::concat("[", section.name, "]: the name ", name,
                                          " may have letters, digits, _ and - only"));
    } else if (is_set) {
      read_section(section.name,
                   sections_of_sets_.emplace(name, experiment.evaluate).first->second);
    } else if (kind == "dataset") {
      read_section(section.name, experiment.datasets.emplace_back(name, DatasetConfig()).second);
      const Entry* path = document_.find(section.name, "path");
      if (path == nullptr || path->value.empty()) {
        missing(section, "path", did_you_mean_section(section, kind));
      }
    } else if (kind == "model") {
      read_section(section.name, experiment.models.emplace_back(name, ModelConfig()).second);
    } else if (kind == "call") {
      read_call(section, experiment.calls.emplace_back(name, CallConfig()).second);
    } else if (!kSections.contains(section.name)) {
      problem(
          section.where,
          base::concat("unknown section [", section.name, "]", meant_section(section.name, kind),
                       "; there are [experiment], [layout], [checkpoint], [evaluate], "
                       "[export], [dynamic_sampling], [dataset.X], [evaluate.X], [model.X], "
                       "[call.X]"));
    }
  }

  /// The sets in their order; each that says nothing of its own is as [evaluate] says.
  void resolve_evaluation_sets() {
    Experiment& experiment = result_.experiment;
    const EvaluateConfig& evaluate = experiment.evaluate;
    const std::vector<std::string> names = names_in(evaluate.sets);
    if (names.empty() && !evaluate.dataset.empty()) {
      experiment.evaluation_sets.push_back({.name = {}, .options = evaluate});
    }
    for (const std::string& name : names) {
      const auto own = sections_of_sets_.find(name);
      EvaluationSet set{.name = name, .options = evaluate};
      if (own != sections_of_sets_.end()) set.options = own->second;
      const bool names_its_data = document_.find(base::concat("evaluate.", name), "dataset");
      if (!names_its_data && experiment.find_dataset(name) != nullptr) set.options.dataset = name;
      experiment.evaluation_sets.push_back(std::move(set));
    }
    for (const auto& [name, options] : sections_of_sets_) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      const std::string section = base::concat("evaluate.", name);
      problem(experiment.where(section),
              base::concat("[", section, "]: evaluate.sets does not name ", name,
                           names.empty() ? base::concat(": write evaluate.sets = ", name)
                                         : did_you_mean(name, names)));
    }
  }

  void read_call(const SectionStart& section, CallConfig& call) {
    call.n_seqs = result_.experiment.experiment.prompts_per_step;
    const std::vector<const Entry*> others = read_fields(section.name, call);
    // Half a call that is switched off is no mistake, but a misspelled key in it is.
    if (call.enabled) check_call_is_complete(section, call);
    const auto known = interfaces_.find(call.interface);
    if (known == interfaces_.end()) {
      if (call.enabled && !call.interface.empty()) report_unknown_interface(section, call);
      return;
    }
    std::vector<std::string> names = field_names<CallConfig>();
    for (const FieldInfo& option : known->second) names.push_back(option.name);
    for (const Entry* entry : others) read_option(*entry, known->second, names, call);
  }

  void check_call_is_complete(const SectionStart& section, CallConfig& call) {
    std::vector<const char*> lacking;
    for (const char* key : {"model", "kind", "interface"}) {
      const Entry* entry = document_.find(section.name, key);
      if (entry == nullptr || entry->value.empty()) lacking.push_back(key);
    }
    const std::string meant = did_you_mean_section(section, "call");
    if (lacking.size() == 3 && !meant.empty()) {
      problem(section.where, base::concat("there is no whole call ", section.name, meant));
      call.enabled = false;  // the checks of calls would find the same again
      return;
    }
    for (const char* key : lacking) missing(section, key);
    if (call.n_seqs == 0 && document_.find(section.name, "n_seqs") == nullptr) {
      missing(section, "n_seqs", ": set it, or experiment.prompts_per_step for all calls");
    }
  }

  void report_unknown_interface(const SectionStart& section, const CallConfig& call) {
    std::vector<std::string> names;
    for (const auto& [name, schema] : interfaces_) names.push_back(name);
    result_.problems.push_back(problem_of(
        result_.experiment, base::concat(section.name, ".interface"),
        base::concat("unknown interface ", call.interface, did_you_mean(call.interface, names),
                     "; there are ", base::join(names, ", "))));
  }

  void read_option(const Entry& entry, const Schema& schema, const std::vector<std::string>& names,
                   CallConfig& call) {
    const auto option = std::find_if(schema.begin(), schema.end(),
                                     [&](const FieldInfo& info) { return info.name == entry.key; });
    if (option == schema.end()) {
      problem(entry.where, base::concat("unknown key ", entry.section, ".", entry.key,
                                        " of interface ", call.interface, meant_key(entry, names)));
      return;
    }
    auto wrong = line_break_problem(entry.value);
    if (!wrong) wrong = option->problem(entry.value);
    std::string text = entry.value;
    if (!wrong && option->check.is_path(text)) {
      text = absolute_path(entry, text);
      const size_t end = option->check.is_function ? text.rfind(':') : text.size();
      wrong = missing_file_problem(text.substr(0, end), entry.value);
    }
    if (wrong) {
      value_problem(entry, *wrong);
    } else {
      call.options.push_back({entry.key, text, entry.where});
    }
  }

  /// What an unknown key may have been meant to be: a name of other systems, or a typing error.
  std::string meant_key(const Entry& entry, const std::vector<std::string>& known) const {
    const std::string synonym =
        synonym_advice({.section = entry.section, .key = entry.key, .known = known}, interfaces_);
    return synonym.empty() ? did_you_mean(entry.key, known) : synonym;
  }

  /// Another section of the kind whose name is nearly that of `section`.
  std::string did_you_mean_section(const SectionStart& section, const std::string& kind) const {
    const std::string prefix = kind + ".";
    std::vector<std::string> others;
    for (const SectionStart& other : document_.sections) {
      if (other.name != section.name && other.name.starts_with(prefix)) {
        others.push_back(other.name.substr(prefix.size()));
      }
    }
    const auto nearest = base::nearest(section.name.substr(prefix.size()), others);
    return nearest ? base::concat("; did you mean ", prefix, *nearest, "?") : std::string();
  }

  std::string meant_section(const std::string& section, const std::string& kind) const {
    for (const SectionStart& other : document_.sections) {
      if (other.name.ends_with("." + section)) {
        return base::concat("; did you mean [", other.name, "]?");
      }
    }
    const std::string synonym = section_synonym_advice(kind);
    return synonym.empty() ? did_you_mean(kind, {kSections.begin(), kSections.end()}) : synonym;
  }

  inline static const std::set<std::string> kSections = {"experiment", "layout", "checkpoint",
                                                         "evaluate",   "export", "dynamic_sampling",
                                                         "dataset",    "model",  "call"};

  const Document& document_;
  std::map<std::string, std::vector<const Entry*>> entries_of_;  // by section
  std::map<std::string, EvaluationSetConfig> sections_of_sets_;
  const InterfaceSchemas& interfaces_;
  LoadResult& result_;
};

LoadResult load(const Document& document, const fs::path& file, const InterfaceSchemas& interfaces,
                std::vector<Problem> problems) {
  LoadResult result;
  result.problems = std::move(problems);
  result.experiment.positions[""] = {file.string(), 0};
  if (document.sections.size() > kMostSections) {  // each of several files may have had fewer
    if (result.problems.empty()) {
      result.problems.push_back(
          {file.string(), 0, base::concat("more than ", kMostSections, " sections"), ""});
    }
    return result;
  }
  Loader(document, interfaces, result).load();
  return result;
}

}  // namespace

LoadResult load_experiment(const fs::path& file, std::span<const std::string> sets,
                           const InterfaceSchemas& interfaces) {
  std::vector<Problem> problems;
  Document document = read_document(file, problems);
  if (document.sections.empty() && !problems.empty()) {  // it cannot be read: nothing else counts
    LoadResult result;
    result.problems = std::move(problems);
    return result;
  }
  apply_sets(document, sets, problems);
  return load(document, file, interfaces, std::move(problems));
}

LoadResult load_experiment_text(const std::string& text, const fs::path& file,
                                const InterfaceSchemas& interfaces) {
  std::vector<Problem> problems;
  const Document document = parse_document(text, file, problems);
  return load(document, file, interfaces, std::move(problems));
}

Problem problem_of(const Experiment& experiment, const std::string& key, const std::string& text) {
  const Position at = experiment.where(key);
  return {at.file, at.line, base::concat(key, ": ", text), key};
}

void drop_consequences(std::vector<Problem>& problems, size_t n_read) {
  std::set<std::string> keys;
  for (size_t i = 0; i < n_read; ++i) keys.insert(problems[i].key);
  keys.erase("");
  const auto follows = [&](const Problem& problem) { return keys.contains(problem.key); };
  problems.erase(std::remove_if(problems.begin() + static_cast<std::ptrdiff_t>(n_read),
                                problems.end(), follows),
                 problems.end());
}

namespace {

constexpr size_t kMostShown = 100;  // who has more of them has one cause for most

}  // namespace

void throw_if_problems(const std::vector<Problem>& problems) {
  if (problems.empty()) return;
  std::string text = base::concat(base::counted(problems.size(), "problem"),
                                  " with the configuration, nothing was started");
  for (size_t i = 0; i < std::min(problems.size(), kMostShown); ++i) {
    text += "\n  " + problems[i].message();
  }
  if (problems.size() > kMostShown) {
    text += base::concat("\n  and ", problems.size() - kMostShown, " more");
  }
  throw ConfigError(text);
}

}  // namespace orrery::config
