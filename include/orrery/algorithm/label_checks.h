// What data sets say of their answers (labels, margins) against the calls that learn from them.
// Rank 0, before anything starts.
#pragma once

#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

/// Appends to `problems`: a train_step that learns from a data set of kind labelled without reading
/// its labels, margins that a data set does not have; to `warnings`: margins that nothing reads.
void check_labels(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                  std::vector<config::Problem>& warnings);

}  // namespace orrery::algorithm
