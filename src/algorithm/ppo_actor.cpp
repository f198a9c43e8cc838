#include "orrery/algorithm/ppo_actor.h"

#include <algorithm>
#include <limits>

#include "orrery/algorithm/aggregation.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/high_entropy.h"
#include "orrery/algorithm/kl_estimate.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/algorithm/mismatch.h"
#include "orrery/algorithm/policy_advantages.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/reward_functions.h"
#include "orrery/algorithm/rollout_correction.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// Actions of each sequence.
std::vector<int32_t> actions_of(const data::SequenceBatch& batch) {
  return action_lengths(batch.meta.at("packed_input_ids").lengths).flat();
}

at::Tensor if_there(const data::SequenceBatch& batch, const char* key) {
  return batch.has_data(key) ? batch.at(key) : at::Tensor();
}

/// Whether any rank has an action that counts. Where aggregation counts answers without one as
/// well, the weight of a minibatch does not say so. Collective over the ranks then.
bool has_action(const at::Tensor& mask, const AggregationOptions& aggregation,
                comm::Communicator& ranks) {
  if (aggregation.kind != Aggregation::kConstant && !aggregation.count_empty_sequences) return true;
  at::Tensor n = mask.sum().to(at::kDouble).reshape({1});
  if (ranks.size() > 1) ranks.all_reduce(n, comm::ReduceOp::kSum);
  return n.item<double>() > 0;
}

/// (sum w)^2 / (n sum w^2) over all ranks. Collective over them.
double effective_share(const RolloutCorrection& own, comm::Communicator& ranks) {
  at::Tensor sums = at::tensor({own.n_valid, own.weight_sum, own.weight_square_sum}, at::kDouble);
  if (ranks.size() > 1) ranks.all_reduce(sums, comm::ReduceOp::kSum);
  RolloutCorrection all;
  all.n_valid = sums.const_data_ptr<double>()[0];
  all.weight_sum = sums.const_data_ptr<double>()[1];
  all.weight_square_sum = sums.const_data_ptr<double>()[2];
  return all.effective_sample_fraction();
}

/// Collective over the ranks.
void record_correction(metrics::Statistics& statistics, const RolloutCorrection& correction,
                       comm::Communicator& ranks) {
  const double n = correction.n_valid;
  statistics.scalar("rollout/effective", effective_share(correction, ranks));
  statistics.mean("rollout/above", correction.n_above, n);
  statistics.mean("rollout/below", correction.n_below, n);
  statistics.mean("rollout/kept", correction.n_kept, n);
  statistics.mean("rollout/weight", correction.weight_sum, n);
  statistics.sum("rollout/vetoed_answers", static_cast<double>(correction.vetoed_sequences.size()));
}

}  // namespace

PpoActor::PpoActor(ActorOptions options)
    : options_(std::move(options)),
      estimator_(options_),
      objective_(objective_of(options_)),
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

PpoActor::Prepared PpoActor::prepare(ModelContext& model, const data::SequenceBatch& input,
                                     const CallContext& call) {
  Estimate estimate = estimator_.estimate(with_one_reward(input, options_), *model.data_group);
  const PolicyBatch& policy = estimate.policy;
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const at::Tensor advantages = policy_advantages(options_, estimate, input, *model.data_group);

  Prepared prepared;
  const data::NestedLengths actions = action_lengths(tokens);
  const std::string keys[] = {"packed_input_ids"};
  data::SequenceBatch batch = input.select(keys);
  batch.set("old_log_probs", policy.log_probs, actions);
  batch.set("advantages", advantages, actions);
  batch.set("action_mask", policy.mask, actions);
  if (options_.kl_loss > 0) batch.set("ref_log_probs", input.at("packed_ref_logprobs"), actions);
  prepared.statistics = std::move(estimate.statistics);
  if (input.has_data("versions")) batch.set("versions", input.at("versions"), actions);
  if (options_.top_entropy_fraction > 0) {
    batch.set("entropies", input.at("entropies"), actions);
  }
  if (needs_pass_before()) look_at_policy(model, input, call, policy, batch, prepared.statistics);
  if (options_.sampling_weight_cap > 0) {
    const at::Tensor weight = sampling_weight(
        input.at("packed_logprobs"), input.at("sampling_logprobs"), options_.sampling_weight_cap);
    record_spread(prepared.statistics, "sampling_weight", weight, policy.mask);
    batch.set("rollout_weight", weight, actions);
  }
  prepared.batch = by_sequence(batch);
  record_spread(prepared.statistics, "advantage", advantages, policy.mask);
  return prepared;
}

bool PpoActor::needs_pass_before() const {
  return options_.recompute_log_probs || options_.has_correction();
}

/// What the weights before the train step say of the batch, and what follows from it.
void PpoActor::look_at_policy(ModelContext& model, const data::SequenceBatch& input,
                              const CallContext& call, const PolicyBatch& policy,
                              data::SequenceBatch& batch, metrics::Statistics& statistics) const {
  const data::NestedLengths actions = action_lengths(input.meta.at("packed_input_ids").lengths);
  const at::Tensor now = current_log_probs(model, input, options_.temperature, call.limits);
  const at::Tensor of_engine = at::where(policy.mask, now, 0.0);
  record_mismatch(statistics, of_engine, policy.log_probs, policy.mask, actions.flat());
  if (options_.recompute_log_probs) batch.set("proximal_log_probs", of_engine, actions);
  if (options_.has_correction()) {
    correct_rollout(model, input, call, of_engine, policy, batch, statistics);
  }
}

void PpoActor::correct_rollout(ModelContext& model, const data::SequenceBatch& input,
                               const CallContext& call, const at::Tensor& of_engine,
                               const PolicyBatch& policy, data::SequenceBatch& batch,
                               metrics::Statistics& statistics) const {
  const data::NestedLengths actions = action_lengths(input.meta.at("packed_input_ids").lengths);
  CorrectionOptions options = correction_of(options_);
  const at::Tensor versions = if_there(input, "versions");
  if (versions.defined()) options.current_version = current_version(call);
  const at::Tensor& generated = input.has_data("sampling_logprobs") ? input.at("sampling_logprobs")
                                                                    : input.at("packed_logprobs");
  const RolloutCorrection correction = rollout_correction({.lengths = actions.flat(),
                                                           .behaviour_log_probs = generated,
                                                           .old_log_probs = of_engine,
                                                           .versions = versions,
                                                           .mask = policy.mask},
                                                          options);
  record_correction(statistics, correction, *model.data_group);
  if (versions.defined()) {
    record_versions(statistics,
                    version_report(of_engine, generated, versions, *options.current_version,
                                   policy.mask, actions.flat()),
                    *options.current_version);
  }
  batch.set("old_log_probs", of_engine, actions);
  batch.set("rollout_weight", correction.weights, actions);
  if (options_.rollout_divisor == "kept") batch.set("action_mask", correction.kept, actions);
}

int64_t PpoActor::current_version(const CallContext& call) { return call.step - 1; }

ObjectiveInput PpoActor::objective_input(const model::LogProbs& policy,
                                         const data::SequenceBatch& part) {
  return {.lengths = actions_of(part),
          .log_probs = policy.log_probs,
          .old_log_probs = part.at("old_log_probs"),
          .proximal_log_probs = if_there(part, "proximal_log_probs"),
          .ref_log_probs = if_there(part, "ref_log_probs"),
          .advantages = part.at("advantages"),
          .entropies = policy.entropy,
          .high_entropy = if_there(part, "high_entropy"),
          .rollout_weights = if_there(part, "rollout_weight"),
          .versions = if_there(part, "versions"),
          .mask = part.at("action_mask")};
}

parallel::LossResult PpoActor::loss(const model::LogProbs& policy, const data::SequenceBatch& part,
                                    const ObjectiveOptions& objective,
                                    const MinibatchTotals& totals) const {
  const at::Tensor& log_probs = policy.log_probs;
  const at::Tensor& mask = part.at("action_mask");
  const PolicyLoss actor = policy_objective(objective_input(policy, part), objective, totals);

  parallel::LossResult result;
  metrics::Statistics& statistics = result.statistics;
  result.loss_sum = actor.loss_sum;
  const double weight = mask.sum().item<double>();
  const double loss_weight =
      objective.aggregation.kind == Aggregation::kTokenMean
          ? weight
          : aggregation_weight(actions_of(part), mask, objective.aggregation);
  at::Tensor bounded_mask = actor.bounded_mask;
  statistics.mean("actor_loss", actor.policy_sum.item<double>(), loss_weight);
  if (options_.kl_loss > 0) {
    const auto estimate = [&](double limit) {
      return kl_estimate(objective.kl.estimator, log_probs.detach(), part.at("ref_log_probs"), mask,
                         limit);
    };
    const at::Tensor measured = estimate(0);
    statistics.mean("ref_kl", measured.sum().item<double>(), weight);
    bounded_mask = bounded_mask.logical_or(estimate(objective.log_ratio_limit).ne(measured));
  }
  statistics.sum("bounded_tokens", bounded_mask.sum().item<double>());
  record_spread(statistics, "importance_weight", actor.ratio, mask);
  const double kl_sum = masked_sum(actor.log_ratio, mask);
  const double n_low = actor.clipped_low.sum().item<double>();
  const double n_high = actor.clipped_high.sum().item<double>();
  statistics.mean("approx_kl", kl_sum, weight);
  statistics.mean("clip_fraction", n_low + n_high, weight);
  statistics.mean("clip_fraction_low", n_low, weight);
  statistics.mean("clip_fraction_high", n_high, weight);
  statistics.mean("dual_clip_fraction", actor.clipped_dual.sum().item<double>(), weight);
  statistics.mean("entropy", masked_sum(policy.entropy, mask), weight);
  statistics.mean("new_logp", masked_sum(log_probs, mask), weight);
  statistics.mean("old_logp", masked_sum(part.at("old_log_probs"), mask), weight);
  if (actor.behaviour_mask.defined()) {
    record_spread(statistics, "behave_imp_weight", actor.behaviour_weight, actor.behaviour_mask);
    statistics.mean("behave_approx_kl", masked_sum(actor.behaviour_log_ratio, actor.behaviour_mask),
                    actor.behaviour_mask.sum().item<double>());
  }
  if (objective.entropy.top_fraction) {
    statistics.mean("high_entropy_ratio", part.at("high_entropy").sum().item<double>(), weight);
  }
  statistics.sum("n_valid_tokens", weight);
  if (!ceilings_.empty()) result.watched = {masked_sum(actor.ratio, mask), kl_sum};
  return result;
}

std::vector<metrics::Statistics> PpoActor::train_step(ModelContext& model,
                                                      const data::SequenceBatch& input,
                                                      const CallContext& call) {
  const Prepared prepared = prepare(model, input, call);
  std::vector<metrics::Statistics> records;
  ObjectiveOptions objective = objective_;
  objective.proximal.current_version = current_version(call);
  for (const std::vector<int>& sequences :
       minibatches_of(prepared.batch, call, options_.n_minibatches, options_.ppo_epochs)) {
    data::SequenceBatch minibatch = prepared.batch.select_samples(sequences);
    const at::Tensor& mask = minibatch.at("action_mask");
    if (objective.entropy.top_fraction) {
      minibatch.set("high_entropy",
                    high_entropy_mask(minibatch.at("entropies"), mask,
                                      *objective.entropy.top_fraction, model.data_group),
                    action_lengths(minibatch.meta.at("packed_input_ids").lengths));
    }
    const MinibatchTotals own =
        totals_of(actions_of(minibatch), mask, if_there(minibatch, "high_entropy"), objective);
    // Only the entropy's share of the loss depends on what the other data ranks have.
    const bool has_entropy = objective.entropy.coefficient != 0;
    const MinibatchTotals all = has_entropy ? summed_over(own, model.data_group) : own;
    const bool is_learned_from = has_action(mask, objective.aggregation, *model.data_group);
    parallel::DeviceLossSum on_device;
    if (is_of_single_actions(objective)) {
      on_device = [&](const model::LogProbs& policy, const data::SequenceBatch& part) {
        ObjectiveInput actions = objective_input(policy, part);
        actions.versions.reset();  // which the host checks
        return policy_objective(actions, objective, all).loss_sum;
      };
    }
    // Before the first update the policy is the one that generated: what differs is the engine.
    const bool measures_mismatch = records.empty() && !needs_pass_before();
    records.push_back(model.engine->step(
        minibatch, options_.temperature, is_learned_from ? own.weight : 0,
        [&](const model::LogProbs& policy, const data::SequenceBatch& part) {
          parallel::LossResult result = loss(policy, part, objective, all);
          if (measures_mismatch) {
            record_mismatch(result.statistics, policy.log_probs, part.at("old_log_probs"),
                            part.at("action_mask"), actions_of(part));
          }
          return result;
        },
        call.limits, ceilings_,
        has_entropy ? model::EntropyGradient::kFlows : model::EntropyGradient::kNone, on_device));
  }
  records.front().merge(prepared.statistics);
  return records;
}

data::SequenceBatch PpoActor::inference(ModelContext& model, const data::SequenceBatch& input,
                                        const CallContext& call) {
  return packed_log_probs(model, input, options_.temperature, call.limits);
}

Evaluation PpoActor::evaluate(ModelContext& model, const EvaluationInput& input,
                              const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
