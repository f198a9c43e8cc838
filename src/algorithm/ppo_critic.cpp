#include "orrery/algorithm/ppo_critic.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/minibatches.h"

namespace orrery::algorithm {

PpoCritic::PpoCritic(PpoCriticOptions options)
    : options_(std::move(options)),
      loss_options_({.clip_range = options_.value_clip_range,
                     .distance = value_distance_named(options_.value_loss)}),
      estimator_(options_) {}

data::SequenceBatch PpoCritic::inference(ModelContext& model, const data::SequenceBatch& input,
                                         const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("values", current_values(model, input, call.limits).to(at::kFloat),
             input.meta.at("packed_input_ids").lengths);
  return output;
}

parallel::LossResult PpoCritic::loss(const at::Tensor& values,
                                     const data::SequenceBatch& part) const {
  const at::Tensor& mask = part.at("action_mask");
  const at::Tensor own = without_last(values, part.meta.at("packed_input_ids").lengths.flat());
  const CriticLoss critic = critic_loss({.values = own,
                                         .old_values = part.at("old_values").to(own.scalar_type()),
                                         .targets = part.at("returns").to(own.scalar_type()),
                                         .mask = mask},
                                        loss_options_);
  parallel::LossResult result;
  result.loss_sum = at::where(mask, critic.loss, 0.0).sum();
  const double weight = mask.sum().item<double>();
  record_spread(result.statistics, "value_loss", critic.loss, mask);
  record_spread(result.statistics, "value", own, mask);
  result.statistics.mean("clip_fraction", critic.clip_mask.sum().item<double>(), weight);
  result.statistics.sum("n_valid_tokens", weight);
  return result;
}

std::vector<metrics::Statistics> PpoCritic::train_step(ModelContext& model,
                                                       const data::SequenceBatch& input,
                                                       const CallContext& call) {
  Estimate estimate = estimator_.estimate(input, *model.data_group);
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const data::NestedLengths actions = action_lengths(tokens);
  const std::string keys[] = {"packed_input_ids"};
  data::SequenceBatch batch = input.select(keys);
  batch.set("old_values", without_last(input.at("values"), tokens.flat()), actions);
  batch.set("returns", estimate.normalized_returns, actions);
  batch.set("action_mask", estimate.policy.mask, actions);
  const data::SequenceBatch prepared = by_sequence(batch);

  std::vector<metrics::Statistics> records;
  for (const std::vector<int>& sequences :
       minibatches_of(prepared, call, options_.n_minibatches, options_.ppo_epochs)) {
    const data::SequenceBatch minibatch = prepared.select_samples(sequences);
    records.push_back(model.engine->step(
        minibatch, 1.0, minibatch.at("action_mask").sum().item<double>(),
        [this](const at::Tensor& values, const data::SequenceBatch& part) {
          return loss(values, part);
        },
        call.limits));
  }
  record_spread(estimate.statistics, "returns", estimate.policy.returns, estimate.policy.mask);
  records.front().merge(estimate.statistics);
  return records;
}

}  // namespace orrery::algorithm
