#include "orrery/config/load.h"

#include <algorithm>
#include <functional>
#include <set>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace fs = std::filesystem;

namespace {

std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  const auto nearest = base::nearest(name, known);
  return nearest ? base::concat("; did you mean ", *nearest, "?") : std::string();
}

template <class T>
struct NameCollector {
  std::vector<std::string> names;
  template <class Value>
  void operator()(Value T::*, const char* name, const char*, const Check& = {}) {
    names.emplace_back(name);
  }
};

template <class T>
std::vector<std::string> names_of() {
  NameCollector<T> collector;
  T::visit_fields(collector);
  return std::move(collector.names);
}

class Loader {
 public:
  Loader(const Document& document, const InterfaceSchemas& interfaces, LoadResult& result)
      : document_(document), interfaces_(interfaces), result_(result) {}

  void load() {
    Experiment& experiment = result_.experiment;
    for (const SectionStart& section : document_.sections) {
      experiment.positions[section.name] = section.where;
    }
    for (const Entry& entry : document_.entries) {
      experiment.positions[entry.section + "." + entry.key] = entry.where;
    }
    read_section("experiment", experiment.experiment);
    read_section("layout", experiment.layout);
    read_section("checkpoint", experiment.checkpoint);
    read_section("evaluate", experiment.evaluate);
    read_section("export", experiment.export_);
    for (const SectionStart& section : document_.sections) read_named(section);
    check_whole();
  }

 private:
  void problem(const Position& where, const std::string& text) {
    result_.problems.push_back({where.file, where.line, text});
  }

  /// Sets one member if its name is that of the entry.
  template <class T>
  struct Setter {
    Loader& loader;
    T& target;
    const Entry& entry;
    bool found = false;

    template <class Value>
    void operator()(Value T::*member, const char* name, const char*, const Check& check = {}) {
      if (entry.key != name) return;
      found = true;
      std::string text = entry.value;
      if (check.is_input_path && !text.empty()) {
        text = fs::absolute(entry.folder / text).lexically_normal().string();
      }
      auto wrong = read_value(text, target.*member);
      if (!wrong && check.problem) wrong = check.problem(text);
      if (!wrong && check.is_input_path && !text.empty() && !fs::exists(text)) {
        wrong = base::concat("no such file or folder: ", text);
      }
      if (wrong) {
        loader.problem(entry.where, base::concat(entry.section, ".", entry.key, ": ", *wrong));
      }
    }
  };

  /// Reads the keys of a section into `target`; returns those that it does not know.
  template <class T>
  std::vector<const Entry*> read_fields(const std::string& section, T& target) {
    std::vector<const Entry*> unknown;
    for (const Entry& entry : document_.entries) {
      if (entry.section != section) continue;
      Setter<T> setter{*this, target, entry};
      T::visit_fields(setter);
      if (!setter.found) unknown.push_back(&entry);
    }
    return unknown;
  }

  template <class T>
  void read_section(const std::string& section, T& target) {
    for (const Entry* entry : read_fields(section, target)) {
      problem(entry->where, base::concat("unknown key ", entry->section, ".", entry->key,
                                         did_you_mean(entry->key, names_of<T>())));
    }
  }

  void read_named(const SectionStart& section) {
    const size_t dot = section.name.find('.');
    const std::string kind = section.name.substr(0, dot);
    const std::string name = dot == std::string::npos ? "" : section.name.substr(dot + 1);
    Experiment& experiment = result_.experiment;
    if (!name.empty() && kind == "dataset") {
      read_section(section.name, experiment.datasets.emplace_back(name, DatasetConfig()).second);
      if (experiment.datasets.back().second.path.empty()) {
        problem(section.where, base::concat("dataset.", name, ".path is missing"));
      }
    } else if (!name.empty() && kind == "model") {
      read_section(section.name, experiment.models.emplace_back(name, ModelConfig()).second);
    } else if (!name.empty() && kind == "call") {
      read_call(section, experiment.calls.emplace_back(name, CallConfig()).second);
    } else if (!name.empty() || !kSections.contains(kind)) {
      problem(section.where,
              base::concat("unknown section [", section.name, "]",
                           did_you_mean(kind, {kSections.begin(), kSections.end()}),
                           "; there are [experiment], [layout], [checkpoint], [evaluate], "
                           "[export], [dataset.X], [model.X], [call.X]"));
    } else if (kind == "dataset" || kind == "model" || kind == "call") {
      problem(section.where, base::concat("[", kind, "] needs a name: [", kind, ".X]"));
    }
  }

  void read_call(const SectionStart& section, CallConfig& call) {
    const std::vector<const Entry*> rest = read_fields(section.name, call);
    if (!call.enabled) return;  // half a call that is switched off is no mistake
    for (const auto& [key, value] : {std::pair{"model", &call.model}, std::pair{"kind", &call.kind},
                                     std::pair{"interface", &call.interface}}) {
      if (value->empty())
        problem(section.where, base::concat(section.name, ".", key, " is missing"));
    }
    if (document_.find(section.name, "n_seqs") == nullptr) {
      problem(section.where, base::concat(section.name, ".n_seqs is missing"));
    }
    const auto known = interfaces_.find(call.interface);
    if (known == interfaces_.end()) {
      if (call.interface.empty()) return;
      std::vector<std::string> names;
      for (const auto& [name, schema] : interfaces_) names.push_back(name);
      problem(
          result_.experiment.where(section.name + ".interface"),
          base::concat("unknown interface ", call.interface, did_you_mean(call.interface, names),
                       "; there are ", base::join(names, ", ")));
      return;
    }
    std::vector<std::string> names = names_of<CallConfig>();
    for (const FieldInfo& option : known->second) names.push_back(option.name);
    for (const Entry* entry : rest) read_option(*entry, known->second, names, call);
  }

  void read_option(const Entry& entry, const Schema& schema, const std::vector<std::string>& names,
                   CallConfig& call) {
    const auto option = std::find_if(schema.begin(), schema.end(),
                                     [&](const FieldInfo& info) { return info.name == entry.key; });
    if (option == schema.end()) {
      problem(entry.where,
              base::concat("unknown key ", entry.section, ".", entry.key, " of interface ",
                           call.interface, did_you_mean(entry.key, names)));
    } else if (const auto wrong = option->problem(entry.value)) {
      problem(entry.where, base::concat(entry.section, ".", entry.key, ": ", *wrong));
    } else {
      call.options.push_back({entry.key, entry.value, entry.where});
    }
  }

  /// What no single key can be blamed for.
  void check_whole() {
    const Experiment& experiment = result_.experiment;
    std::vector<std::string> roles, datasets;
    for (const auto& [role, model] : experiment.models) roles.push_back(role);
    for (const auto& [name, dataset] : experiment.datasets) datasets.push_back(name);
    if (experiment.calls.empty()) {
      problem(experiment.where(""),
              "there is no [call.X]: include a graph such as graphs/grpo.cfg");
    }
    if (experiment.datasets.empty()) problem(experiment.where(""), "there is no [dataset.X]");
    if (experiment.experiment.total_steps == 0 && experiment.experiment.total_epochs == 0 &&
        experiment.experiment.total_seconds == 0) {
      problem(experiment.where("experiment"),
              "the run would never end: set experiment.total_steps, total_epochs or total_seconds");
    }
    for (const auto& [name, call] : experiment.calls) {
      if (!call.enabled || call.model.empty() || experiment.find_model(call.model)) continue;
      problem(experiment.where("call." + name + ".model"),
              base::concat("call.", name, ".model: there is no [model.", call.model, "]",
                           did_you_mean(call.model, roles)));
    }
    const std::string& evaluated = experiment.evaluate.dataset;
    if (!evaluated.empty() && experiment.find_dataset(evaluated) == nullptr) {
      problem(experiment.where("evaluate.dataset"),
              base::concat("evaluate.dataset: there is no [dataset.", evaluated, "]",
                           did_you_mean(evaluated, datasets)));
    }
  }

  inline static const std::set<std::string> kSections = {
      "experiment", "layout", "checkpoint", "evaluate", "export", "dataset", "model", "call"};

  const Document& document_;
  const InterfaceSchemas& interfaces_;
  LoadResult& result_;
};

LoadResult load(const Document& document, const fs::path& file, const InterfaceSchemas& interfaces,
                std::vector<Problem> problems) {
  LoadResult result;
  result.problems = std::move(problems);
  result.experiment.positions[""] = {file.string(), 0};
  if (document.sections.empty() && !result.problems.empty()) return result;  // it cannot be read
  Loader(document, interfaces, result).load();
  return result;
}

}  // namespace

LoadResult load_experiment(const fs::path& file, std::span<const std::string> sets,
                           const InterfaceSchemas& interfaces) {
  std::vector<Problem> problems;
  Document document = read_document(file, problems);
  apply_sets(document, sets, problems);
  return load(document, file, interfaces, std::move(problems));
}

LoadResult load_experiment_text(const std::string& text, const fs::path& file,
                                const InterfaceSchemas& interfaces) {
  std::vector<Problem> problems;
  const Document document = parse_document(text, file, problems);
  return load(document, file, interfaces, std::move(problems));
}

void throw_if_problems(const std::vector<Problem>& problems) {
  if (problems.empty()) return;
  std::string text =
      problems.size() == 1
          ? "1 problem with the configuration, nothing was started"
          : base::concat(problems.size(), " problems with the configuration, nothing was started");
  for (const Problem& problem : problems) text += "\n  " + problem.message();
  throw ConfigError(text);
}

}  // namespace orrery::config
