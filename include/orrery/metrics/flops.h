// Floating point operations of a model's calls, counted from sizes and lengths alone. Conventions
// (they fix what "MFU" means, see docs): attention without the causal half, a multiply-add is two
// operations, the vocabulary projection counts twice. Pure integers; any rank, any thread.
#pragma once

#include <cstdint>
#include <span>

namespace orrery::metrics {

/// Counts pass 2^63 for large models and long runs, hence 128 bits.
__extension__ typedef unsigned __int128 Flops;

/// The sizes that the count depends on.
struct FlopsShape {
  int64_t n_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
};

/// One forward pass over sequences of these lengths. Throws ConfigError on a negative number.
Flops forward_flops(const FlopsShape& shape, std::span<const int64_t> seqlens);

/// A forward pass, a backward pass as two of them, and of the layers that are recomputed their
/// share of one more.
Flops train_flops(const FlopsShape& shape, std::span<const int64_t> seqlens, int64_t n_recomputed);

/// Prefill of the prompts and `n_new_tokens` decoding steps of each.
Flops generate_flops(const FlopsShape& shape, std::span<const int64_t> prompt_lens,
                     int64_t n_new_tokens);

}  // namespace orrery::metrics
