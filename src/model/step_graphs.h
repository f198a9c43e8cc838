// The decoding steps of a GPU as CUDA graphs, one for each number of rows. On tensor ranks the
// operations of their group are captured with the kernels: all ranks launch a step as a graph or
// none does, as NCCL demands. Private to src/model.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "cuda_capture.h"
#include "orrery/comm/communicator.h"

namespace orrery::model {

class StepGraphs {
 public:
  enum class Use { kFromSecondStep, kNever };  // never: of steps that wait for the device

  /// tensor: the group whose operations a step has; null: none. Collective over it: kNever of one
  /// rank is that of all.
  StepGraphs(c10::Device device, Use use, comm::Communicator* tensor = nullptr);

  /// Enqueues `work`, the step of so many rows, the same each time (CudaGraph): the first time as
  /// it is, from then on as a graph. Where it cannot be recorded the log says so once, and it goes
  /// on as it is. Collective over the tensor ranks, which wait for each other where one is
  /// recorded.
  void run(int64_t n_rows, const std::function<void()>& work);

 private:
  const CudaGraph* graph_of(int64_t n_rows, const std::function<void()>& work);
  bool have_all(bool own) const;

  c10::Device device_;
  comm::Communicator* tensor_;
  bool are_given_up_;
  std::map<int64_t, std::optional<CudaGraph>> graphs_;  // by rows; empty: ran once
};

}  // namespace orrery::model
