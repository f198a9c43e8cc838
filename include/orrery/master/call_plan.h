// One call, planned as a whole: who gets which samples, what moves first, what it costs, and what
// its requests say. Nothing of this waits. Pure but for the tracker, which learns of the copies.
// Main thread of the master.
#pragma once

#include <span>
#include <vector>

#include "orrery/master/dispatch.h"
#include "orrery/master/payload.h"

namespace orrery::master {

struct CallPlan {
  std::vector<std::vector<int>> rows;  ///< [data ranks]
  Redistribution redistribution;
  metrics::Flops flops = 0;
  CallPayload payload;  ///< step and hooks are the caller's to add
};

/// Plans a call over the samples in `rows`. Throws as split_batch and redistribute do. Local.
CallPlan plan_call(const CallFacts& call, std::span<const int> rows, Pattern pattern,
                   const CallCost& cost, const SampleState& samples);

}  // namespace orrery::master
