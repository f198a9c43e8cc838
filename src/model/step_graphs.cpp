#include "step_graphs.h"

#include <ATen/ops/full.h>

#include <exception>
#include <string>

#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::model {

StepGraphs::StepGraphs(c10::Device device, Use use, comm::Communicator* tensor)
    : device_(device), tensor_(tensor), are_given_up_(!have_all(use != Use::kNever)) {}

void StepGraphs::run(int64_t n_rows, const std::function<void()>& work) {
  const CudaGraph* const graph = graph_of(n_rows, work);
  if (graph == nullptr) return work();
  graph->launch();
  if (tensor_ != nullptr) tensor_->watch("decoding step");
}

/// Null: it is not to be launched as one, or not yet.
const CudaGraph* StepGraphs::graph_of(int64_t n_rows, const std::function<void()>& work) {
  if (are_given_up_) return nullptr;
  const auto [found, is_first] = graphs_.try_emplace(n_rows);
  if (is_first) return nullptr;
  std::optional<CudaGraph>& graph = found->second;
  if (graph) return &*graph;
  std::string problem = "another tensor rank cannot record a step";
  try {
    graph.emplace(device_, work);
  } catch (const std::exception& error) {
    problem = error.what();
  }
  if (have_all(graph.has_value())) return &*graph;
  are_given_up_ = true;
  graphs_.clear();
  base::log_warning(base::concat("decoding goes on without CUDA graphs, more slowly: ", problem));
  return nullptr;
}

/// A broken group throws here why it is.
bool StepGraphs::have_all(bool own) const {
  if (tensor_ == nullptr) return own;
  at::Tensor all = at::full({1}, own ? 1 : 0, at::TensorOptions().dtype(at::kInt).device(device_));
  tensor_->all_reduce(all, comm::ReduceOp::kMin);
  const bool result = all.item<int>() != 0;
  tensor_->throw_if_failed();
  return result;
}

}  // namespace orrery::model
