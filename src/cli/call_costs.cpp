#include "call_costs.h"

#include "orrery/algorithm/registry.h"
#include "orrery/metrics/flops.h"

namespace orrery::cli {

std::vector<master::CallCost> call_costs(const Job& job) {
  std::vector<master::CallCost> costs;
  for (const graph::Call& call : job.graph.calls()) {
    master::CallCost cost;
    const config::ModelConfig* const model = job.experiment.find_model(call.role);
    const bool is_recomputed = model != nullptr && model->recompute_activations;
    cost.train_factor = is_recomputed ? metrics::kTrainFactorRecompute : metrics::kTrainFactor;
    if (const auto known = job.architectures.find(call.role); known != job.architectures.end()) {
      cost.shape = known->second.flops_shape();
    }
    cost.n_new_tokens =
        algorithm::option_facts(*job.experiment.find_call(call.name)).max_new_tokens.value_or(0);
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace orrery::cli
