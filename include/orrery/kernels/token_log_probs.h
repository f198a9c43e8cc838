// Log-probability (and entropy) of one target per row of logits, and the gradient of the logits.
// Works on a chunk of rows that fits the cache. Logits are float, double or, on GPUs, Bf16; all
// else is float beside Bf16. Shape letters: C rows of the chunk, V vocabulary.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

template <class T>
struct TokenLogProbsArgs {
  using Real = typename Arithmetic<T>::Type;
  const T* logits = nullptr;         // [C, V]
  const int64_t* targets = nullptr;  // [C] in [0, V); -1: none among these columns
  Real* log_probs = nullptr;         // [C] nats, of logits * inverse_temperature; 0 without target
  Real* target_logits = nullptr;     // [C] times inverse_temperature, 0 without; null: not wanted
  Real* logsumexp = nullptr;         // [C] of logits * inverse_temperature; null: not wanted
  Real* entropy = nullptr;           // [C] nats; null: not wanted
  int64_t n_rows = 0;
  int64_t vocab_size = 0;
  double inverse_temperature = 1;
};

/// Local; any thread.
template <class T>
void token_log_probs(const TokenLogProbsArgs<T>& args);

template <class T>
struct TokenLogProbsBackwardArgs {
  using Real = typename Arithmetic<T>::Type;
  T* logits = nullptr;               // [C, V] in; out: the gradient of the loss by them
  const int64_t* targets = nullptr;  // [C] as in forward
  const Real* logsumexp = nullptr;   // [C] of forward
  const Real* entropy = nullptr;     // [C] of forward; null with dentropy
  const Real* dlog_probs = nullptr;  // [C]; null: zero
  const Real* dentropy = nullptr;    // [C]; null: zero
  int64_t n_rows = 0;
  int64_t vocab_size = 0;
  double inverse_temperature = 1;
};

template <class T>
void token_log_probs_backward(const TokenLogProbsBackwardArgs<T>& args);

/// The same with all pointers the GPU's. Asynchronous on `stream`. Throws CallError.
template <class T>
void token_log_probs_cuda(const TokenLogProbsArgs<T>& args, cudaStream_t stream);
template <class T>
void token_log_probs_backward_cuda(const TokenLogProbsBackwardArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
