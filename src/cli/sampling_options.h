// Dynamic sampling as the configuration asks for it: the options of the master's rule, what is
// wrong with them, and what it may cost a step. Rank 0, before anything starts.
#pragma once

#include <optional>
#include <string>

#include "checks.h"
#include "orrery/master/refill.h"

namespace orrery::cli {

/// Of an experiment that samples dynamically; nothing of one that does not. Local.
std::optional<master::RefillOptions> refill_options(const Job& job);

/// Options that contradict one another, the graph, the answers or their rewards.
void check_dynamic_sampling(const Job& job, Checks& checks);

/// Which calls run for every round, and what the most rounds cost: samples that are held, pages of
/// keys and values, operations of generation. Empty without dynamic sampling.
std::string sampling_plan_text(const Job& job);

}  // namespace orrery::cli
