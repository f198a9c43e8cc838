#include "orrery/algorithm/ppo_actor.h"

#include <algorithm>
#include <limits>

#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/algorithm/mismatch.h"
#include "orrery/algorithm/ppo_loss.h"
#include "orrery/algorithm/preference_losses.h"  // sums_by_sequence
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

GroupOptions group_options(const ActorOptions& options) {
  return {.estimator = options.group_std == "none" ? GroupEstimator::kMeanOnly
                                                   : GroupEstimator::kStandardised,
          .scope = options.group_std == "batch" ? StdScope::kBatch : StdScope::kGroup,
          .variance = variance_named(options.group_std_kind),
          .eps = options.group_eps,
          .eps_mode = eps_mode_named(options.group_eps_mode)};
}

/// [A] the advantage of each answer at all its actions; its reward is the sum of those of its
/// actions, KL rewards included.
at::Tensor advantages_of_answers(const Estimate& estimate, const data::NestedLengths& tokens,
                                 const GroupOptions& options, comm::Communicator* ranks) {
  const std::vector<int32_t> lengths = tokens.flat();
  const at::Tensor everywhere = at::ones_like(estimate.policy.mask);
  const at::Tensor rewards =
      sums_by_sequence(estimate.policy.rewards.to(at::kDouble), everywhere, lengths);
  return per_action(
             group_advantages(rewards, group_sizes_of(tokens), estimate.kept, options, ranks),
             lengths)
      .to(at::kFloat);
}

}  // namespace

PpoActor::PpoActor(ActorOptions options)
    : options_(std::move(options)),
      estimator_(options_),
      group_(group_options(options_)),
      rule_(match_rule_named(options_.match)) {
  if (options_.c_clip != 0 && options_.c_clip <= 1) {
    throw ConfigError(base::concat("c_clip must be 0 or above 1, got ", options_.c_clip));
  }
  if (options_.early_stop_imp_ratio > 0 || options_.early_stop_kl > 0) {
    for (const double ceiling : {options_.early_stop_imp_ratio, options_.early_stop_kl}) {
      ceilings_.push_back(ceiling > 0 ? ceiling : std::numeric_limits<double>::infinity());
    }
  }
}

at::Tensor PpoActor::normalized(const Estimate& estimate, const data::NestedLengths& tokens,
                                ModelContext& model) const {
  const at::Tensor& mask = estimate.policy.mask;
  at::Tensor result = estimate.policy.advantages;
  if (options_.group_adv_norm) {
    result = advantages_of_answers(estimate, tokens, group_, model.data_group);
  } else if (options_.group_adv_norm_by_token) {
    result = normalize_by_group(result, mask, tokens);
  }
  if (options_.adv_norm) result = masked_normalization(result, mask, model.data_group);
  return result;
}

PpoActor::Prepared PpoActor::prepare(ModelContext& model, const data::SequenceBatch& input,
                                     const CallContext& call) {
  Estimate estimate = estimator_.estimate(input, *model.data_group);
  const PolicyBatch& policy = estimate.policy;
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const at::Tensor advantages = normalized(estimate, tokens, model);

  Prepared prepared;
  const data::NestedLengths actions = action_lengths(tokens);
  const std::string keys[] = {"packed_input_ids"};
  data::SequenceBatch batch = input.select(keys);
  batch.set("old_log_probs", policy.log_probs, actions);
  batch.set("advantages", advantages, actions);
  batch.set("action_mask", policy.mask, actions);
  if (options_.kl_loss > 0) batch.set("ref_log_probs", input.at("packed_ref_logprobs"), actions);
  prepared.statistics = std::move(estimate.statistics);
  if (options_.recompute_log_probs) {
    const at::Tensor now = current_log_probs(model, input, options_.temperature, call.limits);
    batch.set("proximal_log_probs", at::where(policy.mask, now, 0.0), actions);
    record_mismatch(prepared.statistics, now, policy.log_probs, policy.mask);
  }
  if (options_.sampling_weight_cap > 0) {
    const at::Tensor weight = sampling_weight(
        input.at("packed_logprobs"), input.at("sampling_logprobs"), options_.sampling_weight_cap);
    record_spread(prepared.statistics, "sampling_weight", weight, policy.mask);
    batch.set("sampling_weight", weight, actions);
  }
  prepared.batch = by_sequence(batch);
  record_spread(prepared.statistics, "advantage", advantages, policy.mask);
  return prepared;
}

parallel::LossResult PpoActor::loss(const model::LogProbs& policy,
                                    const data::SequenceBatch& part) const {
  const at::Tensor& log_probs = policy.log_probs;
  const at::Tensor& mask = part.at("action_mask");
  ActorLossOptions options{.clip_range = options_.clip_range,
                           .c_clip = {},
                           .behaviour_weight_cap = {},
                           .log_ratio_limit = options_.log_ratio_limit};
  if (options_.c_clip > 0) options.c_clip = options_.c_clip;
  if (options_.behav_imp_weight_cap > 0) {
    options.behaviour_weight_cap = options_.behav_imp_weight_cap;
  }
  const ActorLoss actor =
      actor_loss({.log_probs = log_probs,
                  .old_log_probs = part.at("old_log_probs"),
                  .proximal_log_probs =
                      options_.recompute_log_probs ? part.at("proximal_log_probs") : at::Tensor(),
                  .advantages = part.at("advantages"),
                  .mask = mask},
                 options);

  parallel::LossResult result;
  metrics::Statistics& statistics = result.statistics;
  const at::Tensor token_loss =
      options_.sampling_weight_cap > 0
          ? actor.loss * part.at("sampling_weight").to(actor.loss.scalar_type())
          : actor.loss;
  result.loss_sum = at::where(mask, token_loss, 0.0).sum();
  const double weight = mask.sum().item<double>();
  at::Tensor bounded_mask = actor.bounded_mask;
  statistics.mean("actor_loss", result.loss_sum.item<double>(), weight);
  if (options_.kl_loss > 0) {
    const at::Tensor& reference = part.at("ref_log_probs");
    const at::Tensor measured = reference_kl(log_probs.detach(), reference, mask);
    statistics.mean("ref_kl", measured.sum().item<double>(), weight);
    const at::Tensor kl = reference_kl(log_probs, reference, mask, options_.log_ratio_limit);
    bounded_mask = bounded_mask.logical_or(kl.detach().ne(measured));
    result.loss_sum = result.loss_sum + options_.kl_loss * kl.sum();
  }
  statistics.sum("bounded_tokens", bounded_mask.sum().item<double>());
  record_spread(statistics, "importance_weight", actor.importance_weight, mask);
  const double kl_sum = masked_sum(actor.approx_kl, mask);
  statistics.mean("approx_kl", kl_sum, weight);
  statistics.mean("clip_fraction", actor.clip_mask.sum().item<double>(), weight);
  statistics.mean("dual_clip_fraction", actor.dual_clip_mask.sum().item<double>(), weight);
  statistics.mean("entropy", masked_sum(policy.entropy, mask), weight);
  statistics.mean("new_logp", masked_sum(log_probs, mask), weight);
  statistics.mean("old_logp", masked_sum(part.at("old_log_probs"), mask), weight);
  if (actor.behaviour_mask.defined()) {
    record_spread(statistics, "behave_imp_weight", actor.behaviour_weight, actor.behaviour_mask);
    statistics.mean("behave_approx_kl", masked_sum(actor.behaviour_kl, actor.behaviour_mask),
                    actor.behaviour_mask.sum().item<double>());
  }
  statistics.sum("n_valid_tokens", weight);
  if (!ceilings_.empty()) result.watched = {masked_sum(actor.importance_weight, mask), kl_sum};
  return result;
}

std::vector<metrics::Statistics> PpoActor::train_step(ModelContext& model,
                                                      const data::SequenceBatch& input,
                                                      const CallContext& call) {
  const Prepared prepared = prepare(model, input, call);
  std::vector<metrics::Statistics> records;
  for (const std::vector<int>& sequences :
       minibatches_of(prepared.batch, call, options_.n_minibatches, options_.ppo_epochs)) {
    const data::SequenceBatch minibatch = prepared.batch.select_samples(sequences);
    // Before the first update the policy is the one that generated: what differs is the engine.
    const bool measures_mismatch = records.empty() && !options_.recompute_log_probs;
    records.push_back(model.engine->step(
        minibatch, options_.temperature, minibatch.at("action_mask").sum().item<double>(),
        [&](const model::LogProbs& policy, const data::SequenceBatch& part) {
          parallel::LossResult result = loss(policy, part);
          if (measures_mismatch) {
            record_mismatch(result.statistics, policy.log_probs, part.at("old_log_probs"),
                            part.at("action_mask"));
          }
          return result;
        },
        call.limits, ceilings_));
  }
  records.front().merge(prepared.statistics);
  return records;
}

data::SequenceBatch PpoActor::inference(ModelContext& model, const data::SequenceBatch& input,
                                        const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("packed_logprobs", current_log_probs(model, input, options_.temperature, call.limits),
             action_lengths(input.meta.at("packed_input_ids").lengths));
  return output;
}

metrics::Statistics PpoActor::evaluate(ModelContext& model, const EvaluationInput& input,
                                       const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
