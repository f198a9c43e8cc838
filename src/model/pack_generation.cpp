#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>  // any_of, copy

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/model/generator.h"

namespace orrery::model {

namespace {

/// [A] of one list of each answer; 0 for actions inside the prompt.
at::Tensor packed_list(const PackedTokens& prompts, const GenerationResult& result,
                       int64_t group_size, int64_t n_actions,
                       std::vector<double> GeneratedSequence::*list) {
  at::Tensor packed = at::zeros({n_actions}, at::kDouble);
  double* to = packed.data_ptr<double>();
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const size_t prompt = i / static_cast<size_t>(group_size);
    to += prompts.cu_seqlens[prompt + 1] - prompts.cu_seqlens[prompt] - 1;
    const std::vector<double>& own = result.sequences[i].*list;
    to = std::copy(own.begin(), own.end(), to);
  }
  return packed;
}

}  // namespace

PackedGeneration pack_generation(const PackedTokens& prompts, const GenerationResult& result,
                                 int64_t group_size, at::ScalarType dtype) {
  const int64_t n_sequences = static_cast<int64_t>(result.sequences.size());
  if (n_sequences != prompts.n_sequences() * group_size) {
    throw ShapeError("generated sequences do not belong to these prompts",
                     {.expected = base::concat(base::counted(prompts.n_sequences(), "prompt"),
                                               " of ", group_size, " members each"),
                      .got = base::counted(n_sequences, "sequence"),
                      .advice = "pass the prompts and group_size that generate() was called with"});
  }
  PackedGeneration packed;
  int64_t n_tokens = 0;
  for (int64_t i = 0; i < n_sequences; ++i) {
    const size_t prompt = static_cast<size_t>(i / group_size);
    const int64_t length = prompts.cu_seqlens[prompt + 1] - prompts.cu_seqlens[prompt] +
                           static_cast<int64_t>(result.sequences[base::index(i)].tokens.size());
    packed.lengths.push_back(static_cast<int32_t>(length));
    n_tokens += length;
  }
  const auto empty = [](int64_t n, at::ScalarType type) {
    return at::empty({n}, at::TensorOptions().dtype(type));
  };
  packed.packed_input_ids = empty(n_tokens, at::kLong);
  const auto pack = [&](std::vector<double> GeneratedSequence::*list) {
    return packed_list(prompts, result, group_size, n_tokens - n_sequences, list).to(dtype);
  };
  packed.packed_logprobs = pack(&GeneratedSequence::log_probs);
  packed.sampling_logprobs = pack(&GeneratedSequence::sampling_log_probs);
  const bool is_measured = std::any_of(result.sequences.begin(), result.sequences.end(),
                                       [](const auto& each) { return !each.entropies.empty(); });
  if (is_measured) packed.entropies = pack(&GeneratedSequence::entropies);
  packed.prompt_mask = empty(n_tokens, at::kBool);
  packed.seq_no_eos_mask = empty(n_sequences, at::kBool);
  int64_t* ids = packed.packed_input_ids.data_ptr<int64_t>();
  bool* prompt_mask = packed.prompt_mask.data_ptr<bool>();
  const int64_t* prompt_ids = prompts.tokens.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < n_sequences; ++i) {
    const size_t prompt = static_cast<size_t>(i / group_size);
    const int64_t begin = prompts.cu_seqlens[prompt], end = prompts.cu_seqlens[prompt + 1];
    const GeneratedSequence& sequence = result.sequences[base::index(i)];
    ids = std::copy(prompt_ids + begin, prompt_ids + end, ids);
    ids = std::copy(sequence.tokens.begin(), sequence.tokens.end(), ids);
    prompt_mask = std::fill_n(prompt_mask, end - begin, true);
    prompt_mask = std::fill_n(prompt_mask, sequence.tokens.size(), false);
    packed.seq_no_eos_mask.data_ptr<bool>()[i] = sequence.finish == Finish::kLength;
  }
  return packed;
}

}  // namespace orrery::model
