#include "orrery/algorithm/log_probs.h"

#include <ATen/core/grad_mode.h>  // NoGradGuard

#include "orrery/algorithm/minibatches.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// forward(tokens) -> as many numbers (or rows of them) for each sequence as `lengths` says, in the
/// batch's order.
template <class Forward>
at::Tensor run_by_sequence(ModelContext& model, const data::SequenceBatch& batch,
                           const data::NestedLengths& lengths,
                           const parallel::MicroBatchLimits& limits, const Forward& forward,
                           at::IntArrayRef row = {}) {
  const at::NoGradGuard no_grad;
  const std::string keys[] = {"packed_input_ids"};
  const data::SequenceBatch sequences = by_sequence(batch.select(keys));
  const std::vector<int64_t> offsets =
      data::NestedLengths::of_single(lengths.flat()).element_offsets();
  std::vector<int64_t> sizes = {offsets.back()};
  sizes.insert(sizes.end(), row.begin(), row.end());
  at::Tensor all = at::empty(sizes, model.decoder->dtype());
  for (const data::SequenceBatch& part : parallel::micro_batches(sequences, limits)) {
    const at::Tensor own =
        forward(model::pack_tokens(part.at("packed_input_ids"),
                                   part.meta.at("packed_input_ids").lengths.flat()))
            .cpu();  // where samples are
    // Micro-batches regroup the sequences; their ids are their places.
    int64_t begin = 0;
    for (const data::SampleId& place : part.meta.ids) {
      const int64_t n = offsets[place.value + 1] - offsets[place.value];
      all.narrow(0, offsets[place.value], n).copy_(own.narrow(0, begin, n));
      begin += n;
    }
  }
  if (model.is_dp_head) check_finite(all, "log-probabilities, values or hidden states");
  return all;
}

}  // namespace

void check_finite(const at::Tensor& numbers, const char* what) {
  if (at::isfinite(numbers).all().item<bool>()) return;
  throw CallError(
      base::concat("the model gives ", what, " that are not finite"),
      {.expected = "finite numbers",
       .got = base::concat(at::isfinite(numbers).logical_not().sum().item<int64_t>(), " of ",
                           numbers.numel(), " are not"),
       .advice = "its weights are broken or have diverged: go back to other files or an earlier "
                 "checkpoint, and lower lr or max_grad_norm"});
}

data::NestedLengths action_lengths(const data::NestedLengths& tokens) {
  std::vector<int32_t> lengths = tokens.flat();
  for (int32_t& length : lengths) --length;
  return data::NestedLengths::from_flat(std::move(lengths), tokens.offsets());
}

data::NestedLengths one_each(const data::NestedLengths& tokens) {
  return data::NestedLengths::from_flat(std::vector<int32_t>(tokens.n_sequences(), 1),
                                        tokens.offsets());
}

at::Tensor current_log_probs(ModelContext& model, const data::SequenceBatch& batch,
                             double temperature, const parallel::MicroBatchLimits& limits) {
  return run_by_sequence(model, batch, action_lengths(batch.meta.at("packed_input_ids").lengths),
                         limits, [&](const model::PackedTokens& tokens) {
                           return model.decoder->log_probs(tokens, temperature);
                         });
}

data::SequenceBatch packed_log_probs(ModelContext& model, const data::SequenceBatch& input,
                                     double temperature, const parallel::MicroBatchLimits& limits) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("packed_logprobs", current_log_probs(model, input, temperature, limits),
             action_lengths(input.meta.at("packed_input_ids").lengths));
  return output;
}

at::Tensor current_values(ModelContext& model, const data::SequenceBatch& batch,
                          const parallel::MicroBatchLimits& limits) {
  return run_by_sequence(
      model, batch, batch.meta.at("packed_input_ids").lengths, limits,
      [&](const model::PackedTokens& tokens) { return model.decoder->values(tokens); });
}

at::Tensor current_hidden(ModelContext& model, const data::SequenceBatch& batch,
                          const parallel::MicroBatchLimits& limits) {
  return run_by_sequence(
      model, batch, batch.meta.at("packed_input_ids").lengths, limits,
      [&](const model::PackedTokens& tokens) { return model.decoder->hidden(tokens); },
      {model.decoder->architecture().hidden_size});
}

}  // namespace orrery::algorithm
