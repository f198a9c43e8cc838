// The control channel inside one process: workers are threads. Messages are serialised as over MPI,
// so what a simulated worker gets is what a real one would get.
#pragma once

#include <memory>
#include <vector>

#include "orrery/comm/control_channel.h"

namespace orrery::comm {

struct LocalControlChannels {
  std::unique_ptr<ControlChannel> master;
  std::vector<std::unique_ptr<WorkerChannel>> workers;  ///< each for one thread
};

/// Local. When the master's end is destroyed, workers that wait in receive() get a CommError.
LocalControlChannels make_local_control_channels(int n_workers);

}  // namespace orrery::comm
