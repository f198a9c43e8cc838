// What no single key of a configuration can be blamed for.
#pragma once

#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::config {

/// Sections that are missing or that nothing uses, names that lead nowhere, keys that contradict
/// each other. Appended with the place of the key that would have to change.
void check_consistency(const Experiment& experiment, std::vector<Problem>& problems);

}  // namespace orrery::config
