#include <ATen/ops/empty.h>

#include <algorithm>  // copy

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/generator.h"

namespace orrery::model {

PackedGeneration pack_generation(const PackedTokens& prompts, const GenerationResult& result,
                                 int64_t group_size) {
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
    const int64_t length =
        prompts.cu_seqlens[prompt + 1] - prompts.cu_seqlens[prompt] +
        static_cast<int64_t>(result.sequences[static_cast<size_t>(i)].tokens.size());
    packed.lengths.push_back(static_cast<int32_t>(length));
    n_tokens += length;
  }
  const auto empty = [](int64_t n, at::ScalarType dtype) {
    return at::empty({n}, at::TensorOptions().dtype(dtype));
  };
  packed.packed_input_ids = empty(n_tokens, at::kLong);
  packed.packed_logprobs = empty(n_tokens - n_sequences, at::kFloat);
  packed.prompt_mask = empty(n_tokens, at::kBool);
  packed.seq_no_eos_mask = empty(n_sequences, at::kBool);
  int64_t* ids = packed.packed_input_ids.data_ptr<int64_t>();
  float* log_probs = packed.packed_logprobs.data_ptr<float>();
  bool* prompt_mask = packed.prompt_mask.data_ptr<bool>();
  const int64_t* prompt_ids = prompts.tokens.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < n_sequences; ++i) {
    const size_t prompt = static_cast<size_t>(i / group_size);
    const int64_t begin = prompts.cu_seqlens[prompt], end = prompts.cu_seqlens[prompt + 1];
    const GeneratedSequence& sequence = result.sequences[static_cast<size_t>(i)];
    ids = std::copy(prompt_ids + begin, prompt_ids + end, ids);
    ids = std::copy(sequence.tokens.begin(), sequence.tokens.end(), ids);
    prompt_mask = std::fill_n(prompt_mask, end - begin, true);
    prompt_mask = std::fill_n(prompt_mask, sequence.tokens.size(), false);
    log_probs = std::fill_n(log_probs, end - begin - 1, 0.0F);
    for (const double log_prob : sequence.log_probs) *log_probs++ = static_cast<float>(log_prob);
    packed.seq_no_eos_mask.data_ptr<bool>()[i] = sequence.finish == Finish::kLength;
  }
  return packed;
}

}  // namespace orrery::model
