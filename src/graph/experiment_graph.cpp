// From configuration sections to the graph: resolves layouts and roles, checks what only the
// configuration knows (datasets, roles, workers) together with the calls themselves, and names
// file and line of every mistake.
#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "orrery/base/text.h"  // concat, join, nearest
#include "orrery/graph/graph.h"

namespace orrery::graph {

namespace {

/// Appends problems at the place where a key is written. A key with which the reader of the file
/// has found fault already gets no second problem here: it was read as its default.
class ProblemList {
 public:
  ProblemList(const config::Experiment& experiment, std::vector<config::Problem>& problems)
      : experiment_(experiment), problems_(problems), n_before_(problems.size()) {}

  void add(const std::string& key, const std::string& text) {
    found_any_ = true;
    if (is_reported(key)) return;
    problems_.push_back(config::problem_of(experiment_, key, text));
  }
  bool found_any() const { return found_any_; }
  bool had_any_before() const { return n_before_ > 0; }

 private:
  bool is_reported(const std::string& key) const {
    for (size_t i = 0; i < n_before_; ++i) {
      if (problems_[i].key == key) return true;
    }
    return false;
  }

  const config::Experiment& experiment_;
  std::vector<config::Problem>& problems_;
  size_t n_before_;
  bool found_any_ = false;
};

template <class T>
std::vector<std::string> names_of(const std::vector<std::pair<std::string, T>>& list) {
  std::vector<std::string> names;
  for (const auto& entry : list) names.push_back(entry.first);
  return names;
}

/// ` (did you mean X?)` when X is nearly `name`, else ` (known: A, B)`.
std::string suggestion(const std::string& name, const std::vector<std::string>& known) {
  if (known.empty()) return "";
  if (const auto near = base::nearest(name, known)) {
    return base::concat(" (did you mean ", *near, "?)");
  }
  return base::concat(" (known: ", base::join(known, ", "), ")");
}

/// The layout of a call: its own, else the default, else data parallel on all workers.
Layout resolve_layout(const config::Experiment& experiment, const std::string& call_name,
                      const config::CallConfig& call, int n_workers, ProblemList& problems) {
  if (call.layout.empty() && experiment.layout.default_layout.empty()) {
    return default_layout(n_workers);
  }
  // A mistake in the default is reported once, with the default, by check_default_layout.
  if (call.layout.empty()) {
    const ParsedLayout parsed = parse_layout(experiment.layout.default_layout);
    return parsed.problems.empty() ? parsed.layout : Layout{.workers = {0}};
  }
  const std::string key = base::concat("call.", call_name, ".layout");
  ParsedLayout parsed = parse_layout(call.layout);
  for (const std::string& text : parsed.problems) problems.add(key, text);
  if (!parsed.problems.empty()) return Layout{.workers = {0}};  // keeps later checks quiet
  for (const std::string& text : placement_problems(parsed.layout, n_workers)) {
    problems.add(key, text);
  }
  return std::move(parsed.layout);
}

void check_default_layout(const config::Experiment& experiment, int n_workers,
                          ProblemList& problems) {
  if (experiment.layout.default_layout.empty()) return;
  const ParsedLayout parsed = parse_layout(experiment.layout.default_layout);
  for (const std::string& text : parsed.problems) problems.add("layout.default", text);
  if (!parsed.problems.empty()) return;
  for (const std::string& text : placement_problems(parsed.layout, n_workers)) {
    problems.add("layout.default", text);
  }
}

/// The keys that samples carry when they enter the graph.
std::set<std::string> keys_of_datasets(const config::Experiment& experiment,
                                       const DatasetKinds& kinds, ProblemList& problems) {
  std::set<std::string> keys;
  const std::string* first_name = nullptr;
  const std::string* first_kind = nullptr;
  const std::vector<std::string> names = training_datasets(experiment);
  for (const auto& [name, dataset] : experiment.datasets) {
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    const std::string key = base::concat("dataset.", name, ".kind");
    const auto kind = kinds.find(dataset.kind);
    if (kind == kinds.end()) {
      std::vector<std::string> known;
      for (const auto& entry : kinds) known.push_back(entry.first);
      problems.add(key, base::concat("unknown dataset kind ", dataset.kind,
                                     suggestion(dataset.kind, known)));
      continue;
    }
    if (first_kind == nullptr) {
      first_name = &name;
      first_kind = &dataset.kind;
    } else if (*first_kind != dataset.kind) {
      problems.add(key, base::concat("dataset ", name, " of kind ", dataset.kind,
                                     " feeds the same calls as dataset ", *first_name, " of kind ",
                                     *first_kind, ": all samples must carry the same keys"));
    }
    keys.insert(kind->second.begin(), kind->second.end());
  }
  return keys;
}

/// `, which datasets of kind labelled have`, of a key that some kind has.
std::string kinds_with(const std::string& key, const DatasetKinds& kinds) {
  std::vector<std::string> names;
  for (const auto& [kind, keys] : kinds) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) names.push_back(kind);
  }
  if (names.empty()) return {};
  return base::concat(", which datasets of kind ", base::join(names, " or "), " have");
}

/// A key read by a call that neither a call nor a dataset gives.
void check_all_keys_given(const std::vector<Call>& calls, const std::set<std::string>& dataset_keys,
                          const DatasetKinds& kinds, ProblemList& problems) {
  std::set<std::string> given = dataset_keys;
  for (const Call& call : calls) {
    for (const config::KeyBinding& output : call.outputs) {
      given.insert(output.graph_key);
      if (dataset_keys.count(output.graph_key) > 0) {
        problems.add(
            base::concat("call.", call.name, ".outputs"),
            base::concat("key ", output.graph_key, " is produced twice, by the dataset ", "and by ",
                         call.name, "; rename the output with interface_key:graph_key"));
      }
    }
  }
  for (const Call& call : calls) {
    for (const config::KeyBinding& input : call.inputs) {
      if (given.count(input.graph_key) > 0) continue;
      problems.add(base::concat("call.", call.name, ".inputs"),
                   base::concat("no call or dataset gives the key ", input.graph_key,
                                kinds_with(input.graph_key, kinds),
                                suggestion(input.graph_key, {given.begin(), given.end()})));
    }
  }
}

void check_post_realloc(const std::vector<Call>& calls, ProblemList& problems) {
  for (const Call& call : calls) {
    if (call.post_realloc.empty()) continue;
    const std::string key = base::concat("call.", call.name, ".post_realloc");
    if (call.kind != CallKind::kTrainStep) {
      problems.add(key, base::concat("only a train_step changes parameters; ", call.name, " is a ",
                                     name_of(call.kind)));
    }
    if (call.post_realloc == call.role) {
      problems.add(key, base::concat("leads to its own role ", call.role,
                                     "; replicas of one role follow by themselves"));
      continue;
    }
    const auto target = std::find_if(calls.begin(), calls.end(), [&](const Call& other) {
      return other.role == call.post_realloc;
    });
    if (target == calls.end()) {
      problems.add(key, base::concat("no enabled call uses the role ", call.post_realloc));
      continue;
    }
    if (!target->has_parameters) {
      problems.add(key, base::concat("role ", call.post_realloc, " has no parameters"));
    }
    if (!(call.eta >= 0 && call.eta <= 1)) {
      problems.add(base::concat("call.", call.name, ".ema_decay"),
                   base::concat("ema_decay must be from 0 to 1, got ", 1 - call.eta));
    }
    for (const Call& other : calls) {
      if (other.kind == CallKind::kTrainStep && other.role == call.post_realloc) {
        problems.add(key, base::concat("role ", call.post_realloc, " is trained by ", other.name,
                                       ", so it cannot be overwritten as well"));
      }
    }
  }
}

std::vector<Call> read_calls(const config::Experiment& experiment, int n_workers,
                             ProblemList& problems) {
  std::vector<Call> calls;
  for (const auto& [name, section] : experiment.calls) {
    if (!section.enabled) continue;
    const std::string key = base::concat("call.", name);
    Call call;
    call.name = name;
    const std::optional<CallKind> kind = call_kind_named(section.kind);
    if (kind) {
      call.kind = *kind;
    } else {
      problems.add(key + ".kind",
                   base::concat("unknown kind '", section.kind, "'",
                                suggestion(section.kind, {"generate", "inference", "train_step"})));
    }
    const config::ModelConfig* model = experiment.find_model(section.model);
    if (model == nullptr) {
      problems.add(key + ".model",
                   base::concat("there is no section [model.", section.model, "]",
                                suggestion(section.model, names_of(experiment.models))));
    } else {
      call.has_parameters = model->architecture != "none";
      if (!call.has_parameters && kind == CallKind::kTrainStep) {
        problems.add(key + ".model", base::concat("role ", section.model,
                                                  " has no parameters that could be trained"));
      }
    }
    call.interface = section.interface;
    call.role = section.model;
    call.inputs = section.inputs;
    call.outputs = section.outputs;
    call.n_seqs = section.n_seqs;
    call.layout = resolve_layout(experiment, name, section, n_workers, problems);
    call.max_tokens_per_micro_batch = section.max_tokens_per_micro_batch;
    call.n_micro_batches = section.n_micro_batches;
    call.log_return_value = section.log_return_value;
    call.post_realloc = section.post_realloc;
    call.eta = 1 - section.ema_decay;
    calls.push_back(std::move(call));
  }
  return calls;
}

}  // namespace

const DatasetKinds& standard_dataset_kinds() {
  const auto name = [](config::DatasetKind kind) { return std::string(config::name(kind)); };
  using enum config::DatasetKind;
  static const DatasetKinds kinds = {
      {name(kPrompts), {"packed_prompts", "answers", "fields", "prompt_texts"}},
      {name(kCompletions), {"packed_input_ids", "prompt_mask"}},
      {name(kPreferences), {"packed_input_ids", "prompt_mask", "margins"}},
      {name(kLabelled),
       {"packed_input_ids", "prompt_mask", "desirable", "kl_input_ids", "kl_prompt_mask"}},
  };
  return kinds;
}

std::vector<std::string> training_datasets(const config::Experiment& experiment) {
  std::vector<std::string> names;
  for (const auto& [name, dataset] : experiment.datasets) {
    if (dataset.use == "evaluate") continue;
    // The only dataset serves both purposes.
    if (dataset.use == "train" || !experiment.is_evaluated(name) ||
        experiment.datasets.size() == 1) {
      names.push_back(name);
    }
  }
  return names;
}

Graph build_graph(const config::Experiment& experiment, int n_workers,
                  std::vector<config::Problem>& problems) {
  return build_graph(experiment, n_workers, standard_dataset_kinds(), problems);
}

Graph build_graph(const config::Experiment& experiment, int n_workers, const DatasetKinds& kinds,
                  std::vector<config::Problem>& problems) {
  ProblemList list(experiment, problems);
  if (n_workers < 1) {
    list.add("experiment.name", "there is no worker; start at least 2 ranks (the master is one)");
    return {};
  }
  check_default_layout(experiment, n_workers, list);
  std::vector<Call> calls = read_calls(experiment, n_workers, list);
  if (calls.empty() && !list.had_any_before()) {
    list.add("experiment.name", "no call is enabled, so there is nothing to run");
  }
  check_all_keys_given(calls, keys_of_datasets(experiment, kinds, list), kinds, list);
  check_post_realloc(calls, list);
  for (const GraphProblem& problem : check_calls(calls)) list.add(problem.key, problem.text);
  if (list.found_any() || calls.empty()) return {};
  return build_graph(std::move(calls));
}

}  // namespace orrery::graph
