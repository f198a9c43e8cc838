#include "orrery/algorithm/aggregation.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/sequence_actions.h"

namespace orrery::algorithm {

at::Tensor action_weights(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const AggregationOptions& options) {
  if (options.kind != Aggregation::kSeqMeanTokenMean) return {};
  const SequenceActions sequences(lengths, mask);
  return sequences.spread(sequences.counts().clamp_min(1).reciprocal());
}

double aggregation_weight(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const AggregationOptions& options) {
  const auto n_sequences = static_cast<double>(lengths.size());
  switch (options.kind) {
    case Aggregation::kTokenMean:
      return mask.sum().item<double>();
    case Aggregation::kConstant:
      return n_sequences * static_cast<double>(options.constant_length);
    case Aggregation::kSeqMeanTokenMean:
    case Aggregation::kSeqMeanTokenSum:
      break;
  }
  if (options.count_empty_sequences) return n_sequences;
  return SequenceActions(lengths, mask).counts().gt(0).sum().item<double>();
}

}  // namespace orrery::algorithm
