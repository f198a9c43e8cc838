// Methods by name: what `method = dapo` sets. Each is a list of options of a policy's train_step,
// and of keys that it reads from the call that generates; the rest of the graph (who rewards, a
// reference, a critic) is not part of it.
#pragma once

#include <span>
#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

struct MethodOption {
  const char* name;
  const char* value;
};

struct Method {
  const char* name;
  const char* source;  ///< paper
  std::vector<MethodOption> options;
  std::vector<const char*> keys = {};  ///< of the call that generates, besides those of any policy
};

/// In the order of docs/algorithms.md.
std::span<const Method> methods();

/// Writes the options of its method into every enabled call that names one, where the call does not
/// state them; constant_length of a method that divides by it is the generating call's
/// max_new_tokens. An option that the call states otherwise holds, with a warning. A key of the
/// method that the call does not read is added to its inputs, and to the outputs of the call that
/// generates what it learns from. Rank 0, before inherit_options.
void expand_methods(config::Experiment& experiment, std::vector<config::Problem>& warnings);

}  // namespace orrery::algorithm
