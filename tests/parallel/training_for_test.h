// A small decoder and random batches, for tests that train.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/data/sequence_batch.h"
#include "orrery/model/decoder.h"
#include "orrery/parallel/train_engine.h"

namespace orrery::parallel {

/// Two layers with few heads, the same parameters at every call; gradients of all of them are well
/// above rounding.
model::Decoder small_decoder(at::ScalarType dtype = at::kDouble);

inline constexpr int64_t kSmallVocabulary = 19;

/// One sample for each length; keys packed_input_ids [T] and weights [A], which depend on the
/// sample's place only.
data::SequenceBatch random_batch(const std::vector<int32_t>& lengths);

/// Sum of the weights.
double weight_of(const data::SequenceBatch& batch);

/// -sum of log_probs * weights, and its mean as the statistic `nll`.
LossResult weighted_loss(const at::Tensor& log_probs, const data::SequenceBatch& part);

/// A constant rate, so that a step is as large whenever it comes.
OptimizerOptions plain_optimizer();

double max_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace orrery::parallel
