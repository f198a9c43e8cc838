#include "mpi_reduction.h"

#include "orrery/base/error.h"

namespace orrery::comm {

namespace {

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return MPI_SUM;
    case ReduceOp::kMin:
      return MPI_MIN;
    case ReduceOp::kMax:
      return MPI_MAX;
  }
  return MPI_OP_NULL;
}

}  // namespace

MpiReduction mpi_reduction(at::ScalarType type, ReduceOp op) {
  switch (type) {
    case at::kBool:  // bytes 0 and 1, which must stay 0 or 1
      return {MPI_UINT8_T, op == ReduceOp::kSum ? MPI_MAX : mpi_op(op)};
    case at::kByte:
      return {MPI_UINT8_T, mpi_op(op)};
    case at::kChar:
      return {MPI_INT8_T, mpi_op(op)};
    case at::kShort:
      return {MPI_INT16_T, mpi_op(op)};
    case at::kInt:
      return {MPI_INT32_T, mpi_op(op)};
    case at::kLong:
      return {MPI_INT64_T, mpi_op(op)};
    case at::kFloat:
      return {MPI_FLOAT, mpi_op(op)};
    case at::kDouble:
      return {MPI_DOUBLE, mpi_op(op)};
    default:
      break;
  }
  ORRERY_ASSERT(false, "a type without reduction in MPI");
  return {MPI_DATATYPE_NULL, MPI_OP_NULL};
}

}  // namespace orrery::comm
