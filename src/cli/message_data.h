// Data sets of messages: which kind they are of, and what does not go with them.
#pragma once

#include <vector>

#include "orrery/config/load.h"

namespace orrery::cli {

/// Makes `kind = messages` the kind that the calls read, prompts or completions, with
/// messages_field = messages unless another is named. Adds a problem for what is written of a data
/// set of messages and has no meaning there.
void resolve_messages(config::Experiment& experiment, std::vector<config::Problem>& problems);

}  // namespace orrery::cli
