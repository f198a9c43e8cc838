// Generalised advantage estimation over packed sequences: delta_t = r_t + gamma V_(t+1) - V_t,
// A_t = delta_t + gamma lambda A_(t+1), return_t = A_t + V_t, backwards in each sequence.
// Shape letters: A actions of all sequences, N sequences; a sequence of n actions has n + 1 values.
#pragma once

#include <cstdint>

#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

template <class T>
struct GaeArgs {
  const T* rewards = nullptr;           // [A]
  const T* values = nullptr;            // [A + N]
  const int32_t* cu_seqlens = nullptr;  // [N + 1] of actions: first 0, last A
  const bool* bootstrap = nullptr;      // [N] true: the sequence was cut, its last value counts;
                                        // false: it ended, its last value is taken as 0
  T* advantages = nullptr;              // [A], written
  T* returns = nullptr;                 // [A], written
  int64_t n_sequences = 0;
  double gamma = 1;
  double lambda = 1;  // gamma * lambda is formed in double, then rounded to T
};

/// Local; any thread.
template <class T>
void gae(const GaeArgs<T>& args);

/// All pointers are the GPU's. Asynchronous on `stream`. Sums in another order than gae().
/// Throws CallError.
template <class T>
void gae_cuda(const GaeArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
