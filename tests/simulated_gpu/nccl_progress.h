// What a device does for other ranks. On a GPU work runs by itself; here a stream runs when
// somebody waits for it, and that may be a rank whose operation needs this one's. So a thread of
// the process runs streams as far as operations that others ask for (Operation::is_wanted), or that
// have been left for long, for which no host here may ever wait.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "nccl_operation.h"
#include "streams.h"

namespace orrery::simulated_gpu {

/// Calls that were made together: one task of a stream. Used under lock_of_streams().
struct CallsUnderWay {
  Stream stream = 0;
  std::vector<Operation> operations = {};
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  bool is_done = false;

  bool advance();
};

/// Runs their stream as far as them once another rank wants it.
void run_for_others(const std::shared_ptr<CallsUnderWay>& calls);

}  // namespace orrery::simulated_gpu
