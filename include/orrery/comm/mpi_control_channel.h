// The control channel over MPI, on a communicator of its own.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>

#include "orrery/comm/control_channel.h"
#include "orrery/comm/node_map.h"  // which rank is which worker

namespace orrery::comm {

struct MpiControlOptions {
  /// Longer messages go in pieces; counts of MPI are ints.
  int64_t max_chunk_bytes = int64_t{1} << 30;
};

/// Master's end. Collective over `world` together with make_mpi_worker_channel(); rank 0 only.
/// The channel must go before MPI ends.
std::unique_ptr<ControlChannel> make_mpi_control_channel(MPI_Comm world, const NodeMap& nodes,
                                                         MpiControlOptions options = {});

/// Worker's end. Collective over `world` together with make_mpi_control_channel(); all ranks but 0.
std::unique_ptr<WorkerChannel> make_mpi_worker_channel(MPI_Comm world,
                                                       MpiControlOptions options = {});

}  // namespace orrery::comm
