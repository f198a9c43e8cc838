// A token for each row of logits: sampling.h for a batch, with the noise that belongs to each row
// drawn from its key. C++17: .cu files include it.
#pragma once

#include <cstdint>

#include "orrery/base/philox.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// Names a draw: the same key gives the same noise on every rank, in every batch, on every device.
struct DrawKey {
  uint64_t seed = 0;
  uint64_t step = 0;      // of the training run
  uint64_t sample = 0;    // id of the prompt
  uint64_t member = 0;    // index of the answer in its group
  uint64_t position = 0;  // of the token in the answer
};

/// Uniform in [0, 1). Two blocks of Philox: key and counter have 192 bits, the name has 320.
constexpr double uniform_of(const DrawKey& key) {
  const auto name =
      base::philox4x32(base::philox_counter(key.step, key.sample), base::philox_key(key.seed));
  const auto words = base::philox4x32(base::philox_counter(key.position, key.member),
                                      {name[0] ^ name[2], name[1] ^ name[3]});
  return base::uniform_from(words[0], words[1]);
}

/// Logits of a row that a GPU sums together, and bytes that it notes about as many.
inline constexpr int64_t kSampleSegment = 1024;
inline constexpr int64_t kSampleSegmentBytes = 56;

/// Bytes of scratch that sample_rows_cuda() needs for up to n_rows rows: facts of each segment, and
/// a token for each logit that a filter may keep.
constexpr int64_t sample_rows_scratch_bytes(int64_t n_rows, int64_t vocab_size) {
  const int64_t n_segments = (vocab_size + kSampleSegment - 1) / kSampleSegment;
  return n_rows *
         (n_segments * kSampleSegmentBytes + vocab_size * static_cast<int64_t>(sizeof(int32_t)));
}

/// Shape letters: N rows, V vocabulary.
template <class T>
struct SampleRowsArgs {
  T* logits = nullptr;            // [N, V]; the CPU changes them, a GPU does not
  void* scratch = nullptr;        // of a GPU, sample_rows_scratch_bytes(N, V), aligned to 8
  const DrawKey* keys = nullptr;  // [N]; position counts from 0 and is that of min_new_tokens
  int64_t* tokens = nullptr;      // [N], written
  double* log_probs = nullptr;    // [N], written: nats, of the policy (sampling.h)
  double* sampling_log_probs = nullptr;  // [N], written: nats, of the distribution drawn from
  const int64_t* stop_ids = nullptr;     // [n_stop_ids] each in [0, V)
  const int64_t* never_ids = nullptr;    // [n_never_ids] likewise: always masked
  int64_t n_stop_ids = 0;
  int64_t n_never_ids = 0;
  int64_t n_rows = 0;
  int64_t vocab_size = 0;
  int64_t min_new_tokens = 0;  // stop ids are masked before this many tokens
  int64_t top_k = INT64_MAX;   // >= 1
  double top_p = 1;            // in (0, 1]
  double temperature = 1;      // > 0; greedy: of the policy, the draw does not use it
  bool greedy = false;
  bool top_k_first = false;  // FilterOrder::kTopKFirst
};

/// By the functions of sampling.h, row by row. Local; any thread; allocates.
template <class T>
void sample_rows(const SampleRowsArgs<T>& args);

/// The same with all pointers the GPU's: the same weights bit for bit, summed in another order in
/// double, so the same tokens unless a draw or a limit falls within 1e-15 of the edge between two.
/// Three launches whose shapes follow from N and V. Asynchronous on `stream`, can be captured into
/// a graph. Throws ShapeError, CallError.
template <class T>
void sample_rows_cuda(const SampleRowsArgs<T>& args, cudaStream_t stream);

}  // namespace orrery::kernels
