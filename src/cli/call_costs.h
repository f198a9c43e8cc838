// What the calls of a job cost, for the count of floating-point operations.
#pragma once

#include <vector>

#include "job.h"
#include "orrery/master/dispatch.h"  // CallCost

namespace orrery::cli {

/// Of each call, in the graph's order. Layers that run again in backward count a forward more.
std::vector<master::CallCost> call_costs(const Job& job);

}  // namespace orrery::cli
