// Elements of NCCL's types, and their reductions: from rank 0 upwards, rounded at every rank as a
// ring rounds.
#pragma once

#include <nccl.h>

#include <cstddef>

namespace orrery::simulated_gpu {

/// 0: a type that is not simulated.
std::size_t size_of_element(ncclDataType_t type);
bool is_simulated(ncclRedOp_t op);
/// to[i] = op(to[i], from[i]) for n elements, of any alignment.
void reduce(char* to, const char* from, std::size_t n, ncclDataType_t type, ncclRedOp_t op);

}  // namespace orrery::simulated_gpu
