#include "orrery/kernels/sample_rows.h"

#include <cstddef>  // max_align_t
#include <vector>

#include "orrery/kernels/sampling.h"

namespace orrery::kernels {

template <class T>
void sample_rows(const SampleRowsArgs<T>& args) {
  const SamplingRule rule{
      .greedy = args.greedy,
      .temperature = args.temperature,
      .filter = {.top_k = args.top_k,
                 .top_p = args.top_p,
                 .order = args.top_k_first ? FilterOrder::kTopKFirst : FilterOrder::kUnion},
      .min_new_tokens = args.min_new_tokens,
      .stop_ids = {args.stop_ids, static_cast<size_t>(args.n_stop_ids)},
      .never_ids = {args.never_ids, static_cast<size_t>(args.n_never_ids)}};
  const auto size = static_cast<size_t>(args.vocab_size);
  std::vector<std::max_align_t> scratch(
      static_cast<size_t>(sampling_scratch_bytes(args.vocab_size)) / sizeof(std::max_align_t) + 1);
  for (int64_t row = 0; row < args.n_rows; ++row) {
    const std::span<T> logits(args.logits + row * args.vocab_size, size);
    const auto position = static_cast<int64_t>(args.keys[row].position);
    const SampledToken drawn =
        sample_token<T>(logits, rule, position, uniform_of(args.keys[row]), scratch.data());
    args.tokens[row] = drawn.token;
    args.log_probs[row] = drawn.log_prob;
    args.sampling_log_probs[row] = drawn.sampling_log_prob;
  }
}

template void sample_rows<float>(const SampleRowsArgs<float>&);
template void sample_rows<double>(const SampleRowsArgs<double>&);

}  // namespace orrery::kernels
