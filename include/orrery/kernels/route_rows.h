// Which experts a token goes through, on GPUs, and the gradient by the router's logits. T: float or
// double (routers compute in fp32 also beside bfloat16). Shape letters: N rows, E experts, G
// experts of a token.
#pragma once

#include <cstdint>

#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

template <class T>
struct RouteRowsArgs {
  T* logits = nullptr;       // [N, E]; probabilities on return
  int64_t* index = nullptr;  // [N, G] the largest first; of equal ones the lower index
  T* weight = nullptr;       // [N, G]
  int64_t n_rows = 0;
  int64_t n_experts = 0;
  int64_t per_token = 0;
  bool normalise = false;  // the weights of a row sum to 1
};

/// All pointers are the GPU's. Asynchronous on `stream`. Throws CallError.
template <class T>
void route_rows_cuda(const RouteRowsArgs<T>& args, cudaStream_t stream);

/// All pointers are the GPU's.
template <class T>
struct RouteRowsBackwardArgs {
  const T* probabilities = nullptr;  // [N, E]
  const int64_t* index = nullptr;    // [N, G]
  const T* weight = nullptr;         // [N, G]
  const T* dweight = nullptr;        // [N, G]
  T* dlogits = nullptr;              // [N, E] on entry what else the loss has by the probabilities
  int64_t n_rows = 0;
  int64_t n_experts = 0;
  int64_t per_token = 0;
  bool normalise = false;
};

/// Asynchronous on `stream`. Throws CallError.
template <class T>
void route_rows_backward_cuda(const RouteRowsBackwardArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
