#include "step_graphs.h"

#include <exception>

#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::model {

void StepGraphs::run(int64_t n_rows, const std::function<void()>& work) {
  const CudaGraph* const graph = graph_of(n_rows, work);
  if (graph != nullptr) return graph->launch();
  work();
}

/// Null: it is not to be launched as one, or not yet.
const CudaGraph* StepGraphs::graph_of(int64_t n_rows, const std::function<void()>& work) {
  if (are_given_up_) return nullptr;
  const auto [found, is_first] = graphs_.try_emplace(n_rows);
  if (is_first) return nullptr;
  std::optional<CudaGraph>& graph = found->second;
  try {
    if (!graph) graph.emplace(device_, work);
    return &*graph;
  } catch (const std::exception& error) {
    are_given_up_ = true;
    base::log_warning(
        base::concat("decoding goes on without CUDA graphs, more slowly: ", error.what()));
    return nullptr;
  }
}

}  // namespace orrery::model
