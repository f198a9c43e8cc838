// How MPI combines elements of a tensor.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include "orrery/comm/communicator.h"  // ReduceOp

namespace orrery::comm {

struct MpiReduction {
  MPI_Datatype type;
  MPI_Op op;
};

/// For types that MPI can combine as they are, that is not for bf16 and fp16.
MpiReduction mpi_reduction(at::ScalarType type, ReduceOp op);

}  // namespace orrery::comm
