#include "orrery/model/packed_tokens.h"

#include <algorithm>  // max
#include <utility>    // move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::model {
namespace {

void check_tensor(const PackedTokens& packed) {
  const at::Tensor& tokens = packed.tokens;
  if (!tokens.defined() || tokens.dim() != 1 || tokens.scalar_type() != at::kLong ||
      !tokens.is_contiguous() || !tokens.device().is_cpu()) {
    throw ShapeError("packed tokens of the wrong form",
                     {.expected = "a contiguous int64 tensor [T] on the CPU",
                      .got = tokens.defined() ? base::concat(tokens.dim(), " dims of ",
                                                             c10::toString(tokens.scalar_type()))
                                              : std::string("an undefined tensor"),
                      .advice = "pack the sequences one behind another"});
  }
  if (packed.cu_seqlens.empty() || packed.cu_seqlens.front() != 0 ||
      packed.size() != tokens.numel()) {
    throw ShapeError(
        "packed tokens and their offsets disagree",
        {.expected = base::concat("offsets from 0 to ", tokens.numel()),
         .got = packed.cu_seqlens.empty() ? std::string("no offsets")
                                          : base::concat("offsets from ", packed.cu_seqlens.front(),
                                                         " to ", packed.cu_seqlens.back()),
         .advice = "make them with pack_tokens"});
  }
}

}  // namespace

int64_t longest_of(std::span<const int32_t> cu_seqlens) {
  int32_t longest = 0;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    longest = std::max(longest, cu_seqlens[s + 1] - cu_seqlens[s]);
  }
  return longest;
}

PackedTokens pack_tokens(at::Tensor tokens, std::span<const int32_t> lengths) {
  PackedTokens packed;
  packed.tokens = std::move(tokens);
  packed.cu_seqlens.reserve(lengths.size() + 1);
  packed.cu_seqlens.push_back(0);
  for (const int32_t n : lengths) packed.cu_seqlens.push_back(packed.cu_seqlens.back() + n);
  check_tensor(packed);
  for (size_t s = 0; s < lengths.size(); ++s) {
    if (lengths[s] < 1) {
      throw ShapeError(base::concat("sequence ", s, " of a packed batch is empty"),
                       {.expected = "at least one token",
                        .got = base::concat(lengths[s]),
                        .advice = "leave empty sequences out"});
    }
  }
  return packed;
}

void check_tokens(const PackedTokens& packed, int64_t vocab_size, int64_t max_positions) {
  check_tensor(packed);
  for (int64_t s = 0; s < packed.n_sequences(); ++s) {
    const int64_t n =
        packed.cu_seqlens[static_cast<size_t>(s) + 1] - packed.cu_seqlens[base::index(s)];
    if (n < 1 || n > max_positions) {
      throw ShapeError(
          base::concat("sequence ", s, " of a packed batch has ", base::counted(n, "token")),
          {.expected = base::concat("1 to ", max_positions, " (max_positions of the model)"),
           .got = base::concat(n),
           .advice = "shorten it or raise max_positions"});
    }
  }
  const int64_t* ids = packed.tokens.data_ptr<int64_t>();
  for (int64_t t = 0; t < packed.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= vocab_size) {
      throw DataError(
          base::concat("token id at place ", t, " of a packed batch"),
          {.expected = base::concat("0 to ", vocab_size - 1, " (vocab_size of the model)"),
           .got = base::concat(ids[t]),
           .advice = "use the tokenizer that the model was made for"});
    }
  }
}

}  // namespace orrery::model
