#include "orrery/algorithm/log_probs.h"

#include <ATen/core/grad_mode.h>  // NoGradGuard

#include "orrery/algorithm/minibatches.h"

namespace orrery::algorithm {

data::NestedLengths action_lengths(const data::NestedLengths& tokens) {
  std::vector<int32_t> lengths = tokens.flat();
  for (int32_t& length : lengths) --length;
  return data::NestedLengths::from_flat(std::move(lengths), tokens.offsets());
}

at::Tensor current_log_probs(ModelContext& model, const data::SequenceBatch& batch,
                             double temperature, const parallel::MicroBatchLimits& limits) {
  const at::NoGradGuard no_grad;
  const std::string keys[] = {"packed_input_ids"};
  const data::SequenceBatch sequences = by_sequence(batch.select(keys));
  const std::vector<int64_t> offsets =
      action_lengths(sequences.meta.at("packed_input_ids").lengths).element_offsets();
  at::Tensor all = at::empty({offsets.back()}, model.decoder->dtype());
  for (const data::SequenceBatch& part : parallel::micro_batches(sequences, limits)) {
    const std::vector<int32_t>& lengths = part.meta.at("packed_input_ids").lengths.flat();
    const at::Tensor own = model.decoder->log_probs(
        model::pack_tokens(part.at("packed_input_ids"), lengths), temperature);
    // Micro-batches regroup the sequences; their ids are their places.
    int64_t begin = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      const int64_t n = lengths[i] - 1;
      all.narrow(0, offsets[part.meta.ids[i].value], n).copy_(own.narrow(0, begin, n));
      begin += n;
    }
  }
  return all;
}

}  // namespace orrery::algorithm
