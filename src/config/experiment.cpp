#include "orrery/config/experiment.h"

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

namespace {

template <class T>
const T* find_named(const Named<T>& list, std::string_view name) {
  for (const auto& [key, value] : list) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

const DatasetConfig* Experiment::find_dataset(std::string_view name) const {
  return find_named(datasets, name);
}
const ModelConfig* Experiment::find_model(std::string_view role) const {
  return find_named(models, role);
}
const CallConfig* Experiment::find_call(std::string_view name) const {
  return find_named(calls, name);
}

}  // namespace orrery::config
