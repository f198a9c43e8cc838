#include "training_for_test.h"

#include <ATen/ATen.h>

#include "orrery/base/philox.h"

namespace orrery::parallel {

model::Decoder small_decoder(at::ScalarType dtype) {
  model::Architecture architecture;
  architecture.vocab_size = kSmallVocabulary;
  architecture.hidden_size = 16;
  architecture.intermediate_size = 24;
  architecture.n_layers = 2;
  architecture.n_heads = 4;
  architecture.n_kv_heads = 2;
  architecture.head_dim = 4;
  architecture.max_positions = 64;
  architecture.qkv_bias = true;
  model::Decoder decoder(architecture, dtype);
  decoder.parameters().initialise(7);
  at::Tensor values = decoder.parameters().values();
  values.mul_(4);
  return decoder;
}

data::SequenceBatch random_batch(const std::vector<int32_t>& lengths) {
  std::vector<int64_t> tokens;
  std::vector<double> weights;
  std::vector<int32_t> actions;
  data::SequenceBatch batch;
  for (size_t i = 0; i < lengths.size(); ++i) {
    batch.meta.ids.push_back({i});
    actions.push_back(lengths[i] - 1);
    for (int32_t t = 0; t < lengths[i]; ++t) {
      const auto draw = static_cast<uint64_t>(t);
      tokens.push_back(
          static_cast<int64_t>(base::philox_below(11, i, draw, uint64_t{kSmallVocabulary})));
      if (t > 0) weights.push_back(base::philox_uniform(12, i, draw) < 0.3 ? 0 : 1);
    }
  }
  batch.set("packed_input_ids", at::tensor(tokens, at::kLong),
            data::NestedLengths::of_single(lengths));
  batch.set("weights", at::tensor(weights, at::kDouble), data::NestedLengths::of_single(actions));
  return batch;
}

double weight_of(const data::SequenceBatch& batch) {
  return batch.size() == 0 ? 0 : batch.at("weights").sum().item<double>();
}

LossResult weighted_loss(const at::Tensor& log_probs, const data::SequenceBatch& part) {
  LossResult result;
  result.loss_sum = -(log_probs * part.at("weights")).sum();
  result.statistics.mean("nll", result.loss_sum.item<double>(), weight_of(part));
  return result;
}

OptimizerOptions plain_optimizer() {
  OptimizerOptions options;
  options.adamw.weight_decay = 0.1;
  options.schedule.max_lr = 1e-2;
  options.max_grad_norm = 0.5;
  options.balance_coefficient = 0.05;  // of models with experts
  return options;
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace orrery::parallel
