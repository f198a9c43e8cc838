#include "orrery/config/experiment.h"

#include <algorithm>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

Position Experiment::where(std::string_view key) const {
  for (std::string_view name = key; !name.empty();) {
    if (const auto found = positions.find(name); found != positions.end()) return found->second;
    const size_t dot = name.rfind('.');
    name = dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
  }
  const auto file = positions.find("");
  return file == positions.end() ? Position() : file->second;
}

int64_t ModelConfig::recomputed_layers(int64_t n_layers_of_stage) const {
  if (recompute_layers == "auto") return 0;
  if (recompute_layers == "all") return n_layers_of_stage;
  int64_t number = 0;
  const auto problem = read_value(recompute_layers, number);
  ORRERY_ASSERT(!problem, "recompute_layers was checked");
  return std::min(number, n_layers_of_stage);
}

namespace {

template <class T>
const T* find_named(const Named<T>& list, std::string_view name) {
  for (const auto& [key, value] : list) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

std::string Experiment::key_of(const EvaluationSet& set, std::string_view name) const {
  const std::string of_all = base::concat("evaluate.", name);
  if (set.name.empty()) return of_all;
  const std::string own = base::concat("evaluate.", set.name, ".", name);
  return !positions.contains(own) && positions.contains(of_all) ? of_all : own;
}

bool Experiment::is_evaluated(std::string_view dataset) const {
  return std::any_of(evaluation_sets.begin(), evaluation_sets.end(),
                     [&](const EvaluationSet& set) { return set.options.dataset == dataset; });
}

const EvaluationSet* Experiment::find_evaluation_set(std::string_view name) const {
  const auto found = std::find_if(evaluation_sets.begin(), evaluation_sets.end(),
                                  [&](const EvaluationSet& set) { return set.name == name; });
  return found == evaluation_sets.end() ? nullptr : &*found;
}

const DatasetConfig* Experiment::find_dataset(std::string_view name) const {
  return find_named(datasets, name);
}
const ModelConfig* Experiment::find_model(std::string_view role) const {
  return find_named(models, role);
}
const std::pair<std::string, CallConfig>* Experiment::writer_of(std::string_view graph_key) const {
  for (const auto& named : calls) {
    if (named.second.enabled && writes(named.second, graph_key)) return &named;
  }
  return nullptr;
}

bool writes(const CallConfig& call, std::string_view graph_key) {
  return std::any_of(call.outputs.begin(), call.outputs.end(),
                     [&](const KeyBinding& output) { return output.graph_key == graph_key; });
}

const CallConfig* Experiment::find_call(std::string_view name) const {
  return find_named(calls, name);
}

}  // namespace orrery::config
