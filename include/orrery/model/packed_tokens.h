// Sequences one behind another, without padding: what every model function takes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::model {

/// Tokens of the longest of the sequences that `cu_seqlens` cuts; 0 without any.
int64_t longest_of(std::span<const int32_t> cu_seqlens);

struct PackedTokens {
  at::Tensor tokens;                // [T] int64, contiguous, on the CPU
  std::vector<int32_t> cu_seqlens;  // [N + 1]: 0, n0, n0 + n1, ..., T; every n >= 1

  int64_t size() const { return cu_seqlens.empty() ? 0 : cu_seqlens.back(); }
  int64_t n_sequences() const {
    return cu_seqlens.empty() ? 0 : static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
  /// Sum of (n - 1): one action for each predicted token.
  int64_t n_actions() const { return size() - n_sequences(); }
  int64_t longest() const { return longest_of(cu_seqlens); }
};

/// tokens [T] int64 and the length of each sequence -> PackedTokens.
/// Throws ShapeError when they disagree or a length is below 1.
PackedTokens pack_tokens(at::Tensor tokens, std::span<const int32_t> lengths);

/// Throws ShapeError when tokens and cu_seqlens disagree, a sequence is empty or longer than
/// `max_positions`, and DataError when an id is outside [0, vocab_size).
void check_tokens(const PackedTokens& packed, int64_t vocab_size, int64_t max_positions);

}  // namespace orrery::model
