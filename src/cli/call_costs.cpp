#include "call_costs.h"

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
    for (const config::Option& option : job.experiment.find_call(call.name)->options) {
      if (option.name == "max_new_tokens") config::read_value(option.value, cost.n_new_tokens);
    }
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace orrery::cli
