#include "hf_names.h"

#include "families/family.h"

namespace orrery::model {

std::string renamed(std::string name, const Renames& renames) {
  for (const auto& [from, to] : renames) {
    const size_t at = name.find(from);
    if (at != std::string::npos) return name.replace(at, from.size(), to);
  }
  return name;
}

StoredPlace same_place(const ParameterSpec& spec) {
  return {.name = spec.name, .shape = spec.full_shape};
}

StoredPlace stored_place(const Architecture& architecture, const ParameterSpec& spec) {
  return traits(architecture.family).place(spec);
}

std::string trunk_prefix(const Architecture& architecture) {
  return traits(architecture.family).trunk_prefix;
}

}  // namespace orrery::model
