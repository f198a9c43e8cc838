#include "call_costs.h"

#include "orrery/algorithm/registry.h"
#include "orrery/model/parameter_table.h"  // blocks_of

namespace orrery::cli {

namespace {

/// Of all stages together.
int64_t recomputed_layers(const config::ModelConfig& model, int64_t n_layers, int n_pipe) {
  int64_t n = 0;
  for (int pipe = 0; pipe < n_pipe; ++pipe) {
    n +=
        model.recomputed_layers(model::blocks_of(n_layers, {.pipe = pipe, .n_pipe = n_pipe}).count);
  }
  return n;
}

}  // namespace

std::vector<master::CallCost> call_costs(const Job& job) {
  std::vector<master::CallCost> costs;
  for (const graph::Call& call : job.graph.calls()) {
    master::CallCost cost;
    if (const auto known = job.architectures.find(call.role); known != job.architectures.end()) {
      cost.shape = known->second.flops_shape();
      cost.n_recomputed = recomputed_layers(*job.experiment.find_model(call.role),
                                            known->second.n_layers, call.layout.pipe);
    }
    cost.n_new_tokens =
        algorithm::option_facts(*job.experiment.find_call(call.name)).max_new_tokens.value_or(0);
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace orrery::cli
