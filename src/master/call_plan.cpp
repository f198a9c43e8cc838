#include "orrery/master/call_plan.h"

namespace orrery::master {

CallPlan plan_call(const CallFacts& call, std::span<const int> rows, Pattern pattern,
                   const CallCost& cost, const SampleState& samples) {
  CallPlan plan{.rows = split_batch(call, rows, *samples.metadata),
                .redistribution = {},
                .flops = count_flops(call, rows, *samples.metadata, cost),
                .payload = {.call = &call, .kind = call.request_kind}};
  plan.redistribution = redistribute(pattern, call, plan.rows, samples);
  for (const std::vector<int>& of_rank : plan.rows) {
    plan.payload.batches.push_back(describe(of_rank, call.input_keys, samples));
    plan.payload.batches.back().extra = samples.metadata->assemble_extra(of_rank);
  }
  plan.payload.transfers = transfers_of(plan.redistribution.moves, samples);
  return plan;
}

}  // namespace orrery::master
