#include "orrery/algorithm/reward_model.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/preference_losses.h"
#include "orrery/algorithm/reward_outcomes.h"  // problem_of_scaling
#include "orrery/algorithm/rewards.h"

namespace orrery::algorithm {

namespace {

/// [N] scores of the sequences with the weights as they are.
at::Tensor current_scores(ModelContext& model, const data::SequenceBatch& input,
                          const parallel::MicroBatchLimits& limits) {
  return last_of_each(current_values(model, input, limits),
                      input.meta.at("packed_input_ids").lengths.flat());
}

std::vector<int32_t> pairs_by_sample(const data::SequenceBatch& batch) {
  const data::NestedLengths& tokens = batch.meta.at("packed_input_ids").lengths;
  std::vector<int32_t> pairs;
  for (size_t i = 0; i < tokens.size(); ++i) {
    pairs.push_back(static_cast<int32_t>(tokens.of(i).size() / 2));
  }
  return pairs;
}

}  // namespace

std::vector<OptionProblem> RewardModelOptions::problems(const config::CallConfig& call) const {
  if (call.kind != "inference") return {};
  if (auto problem = problem_of_scaling(output_scaling)) return {std::move(*problem)};
  return {};
}

data::SequenceBatch RewardModel::inference(ModelContext& model, const data::SequenceBatch& input,
                                           const CallContext& call) {
  const at::Tensor scores =
      ((current_scores(model, input, call.limits) - options_.output_bias) * options_.output_scaling)
          .to(at::kFloat)
          .contiguous();
  const std::vector<float> rewards(scores.const_data_ptr<float>(),
                                   scores.const_data_ptr<float>() + scores.numel());
  check_finite(input, rewards,
               "look at the reward model's weights (`orrery verify --check`), output_scaling and "
               "output_bias");
  statistics_.merge(reward_statistics(rewards));
  if (options_.dump_samples && model.is_dp_head && !call.samples.empty() &&
      input.has_data("prompt_mask")) {
    dump_responses(call.samples, call.step, call.data_rank, responses_of(input, *model.tokenizer),
                   rewards);
  }
  return reward_batch(input, rewards);
}

std::vector<metrics::Statistics> RewardModel::train_step(ModelContext& model,
                                                         const data::SequenceBatch& input,
                                                         const CallContext& call) {
  check_pairs(input);
  std::vector<metrics::Statistics> records;
  const std::vector<int> sizes = data::minibatch_sizes(static_cast<int>(input.size()),
                                                       static_cast<int>(options_.n_minibatches));
  for (const data::SequenceBatch& minibatch : input.split({.sizes = sizes, .ranges = {}})) {
    records.push_back(model.engine->step(
        minibatch, 1.0, static_cast<double>(minibatch.size()),
        [this](const at::Tensor& values, const data::SequenceBatch& part) {
          PairwiseInput pairs{
              .scores = last_of_each(values, part.meta.at("packed_input_ids").lengths.flat()),
              .pairs = pairs_by_sample(part)};
          if (part.has_data("margins")) {
            pairs.margins = part.at("margins").to(pairs.scores.scalar_type());
          }
          return pairwise_loss(pairs, {.centering_coef = options_.centering_coef,
                                       .nonfinite = NonfiniteInput::kPassOn})
              .result;
        },
        call.limits));
  }
  return records;
}

Evaluation RewardModel::evaluate(ModelContext& model, const EvaluationInput& input,
                                 const CallContext& call) {
  check_pairs(input.batch);
  return {.statistics = pair_accuracy(current_scores(model, input.batch, call.limits))};
}

}  // namespace orrery::algorithm
