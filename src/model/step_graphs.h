// The decoding steps of a GPU as CUDA graphs, one for each number of rows. Private to src/model.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "cuda_capture.h"

namespace orrery::model {

class StepGraphs {
 public:
  enum class Use { kFromSecondStep, kNever };  // never: of steps that wait for the device

  StepGraphs(c10::Device device, Use use) : device_(device), are_given_up_(use == Use::kNever) {}

  /// Enqueues `work`, the step of so many rows, the same each time (CudaGraph): the first time as
  /// it is, from then on as a graph. Where it cannot be recorded the log says so once, and it goes
  /// on as it is.
  void run(int64_t n_rows, const std::function<void()>& work);

 private:
  const CudaGraph* graph_of(int64_t n_rows, const std::function<void()>& work);

  c10::Device device_;
  bool are_given_up_;
  std::map<int64_t, std::optional<CudaGraph>> graphs_;  // by rows; empty: ran once
};

}  // namespace orrery::model
