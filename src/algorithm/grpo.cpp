#include "orrery/algorithm/grpo.h"

#include <algorithm>
#include <limits>

#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

std::vector<OptionProblem> GrpoOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found;
  if (c_clip != 0 && c_clip <= 1) {
    found.push_back({"c_clip", base::concat("must be 0 or above 1, got ", c_clip)});
  }
  const bool has_reference = std::any_of(
      call.inputs.begin(), call.inputs.end(),
      [](const config::KeyBinding& input) { return input.interface_key == "packed_ref_logprobs"; });
  if (call.kind == "train_step" && needs_reference() && !has_reference) {
    found.push_back({kl_ctl > 0 ? "kl_ctl" : "kl_loss",
                     "a KL term needs the input packed_ref_logprobs, which a call of a reference "
                     "model writes"});
  }
  return found;
}

Grpo::Grpo(GrpoOptions options) : options_(options), rule_(match_rule_named(options.match)) {
  if (options_.c_clip != 0 && options_.c_clip <= 1) {
    throw ConfigError(base::concat("c_clip must be 0 or above 1, got ", options_.c_clip));
  }
  if (options_.early_stop_imp_ratio > 0 || options_.early_stop_kl > 0) {
    for (const double ceiling : {options_.early_stop_imp_ratio, options_.early_stop_kl}) {
      ceilings_.push_back(ceiling > 0 ? ceiling : std::numeric_limits<double>::infinity());
    }
  }
}

at::Tensor Grpo::normalized(const at::Tensor& advantages, const at::Tensor& mask,
                            const data::NestedLengths& tokens, ModelContext& model) const {
  at::Tensor result = advantages;
  if (options_.group_adv_norm && advantages.numel() > 0) {
    std::vector<at::Tensor> groups;
    int64_t begin = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int64_t actions = tokens.total(i) - static_cast<int64_t>(tokens.of(i).size());
      groups.push_back(
          masked_normalization(result.narrow(0, begin, actions), mask.narrow(0, begin, actions)));
      begin += actions;
    }
    result = at::cat(groups);
  }
  if (options_.adv_norm) result = masked_normalization(result, mask, model.data_group);
  return result;
}

PreparedBatch Grpo::prepare(ModelContext& model, const data::SequenceBatch& input,
                            const CallContext& call) const {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const PolicyInput policy_input{
      .lengths = tokens.flat(),
      .prompt_mask = input.at("prompt_mask"),
      .log_probs = input.at("packed_logprobs"),
      .ref_log_probs = options_.needs_reference() ? input.at("packed_ref_logprobs") : at::Tensor(),
      .values = {},
      .scores = (input.at("rewards") - options_.reward_bias) * options_.reward_scaling,
      .dense_scores = {},
      .no_eos = input.at("seq_no_eos_mask")};
  const PolicyBatch policy = prepare_policy_batch(
      policy_input, {.rewards = {.kl_ctl = options_.kl_ctl,
                                 .clip = options_.max_reward_clip,
                                 .mask_no_eos_with_zero = options_.mask_no_eos_with_zero},
                     .mask_too_long = options_.mask_too_long,
                     .discount = options_.discount,
                     .gae_lambda = options_.gae_lambda});
  const at::Tensor advantages = normalized(policy.advantages, policy.mask, tokens, model);

  PreparedBatch prepared;
  const data::NestedLengths actions = action_lengths(tokens);
  const std::string keys[] = {"packed_input_ids"};
  data::SequenceBatch batch = input.select(keys);
  batch.set("old_log_probs", policy.log_probs, actions);
  batch.set("advantages", advantages, actions);
  batch.set("action_mask", policy.mask, actions);
  if (options_.kl_loss > 0) batch.set("ref_log_probs", policy_input.ref_log_probs, actions);
  if (options_.recompute_log_probs) {
    const at::Tensor now = current_log_probs(model, input, options_.temperature, call.limits);
    batch.set("proximal_log_probs", now * policy.mask, actions);
  }
  prepared.batch = by_sequence(batch);
  prepared.statistics = policy_statistics(policy_input, policy);
  record_spread(prepared.statistics, "advantage", advantages, policy.mask);
  return prepared;
}

parallel::LossResult Grpo::loss(const at::Tensor& log_probs,
                                const data::SequenceBatch& part) const {
  const at::Tensor& mask = part.at("action_mask");
  ActorLossOptions options{.eps_clip = options_.eps_clip, .c_clip = {}, .behaviour_weight_cap = {}};
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
  result.loss_sum = at::where(mask, actor.loss, 0.0).sum();
  const double weight = mask.sum().item<double>();
  statistics.mean("actor_loss", result.loss_sum.item<double>(), weight);
  if (options_.kl_loss > 0) {
    const at::Tensor kl = reference_kl(log_probs, part.at("ref_log_probs"), mask).sum();
    statistics.mean("ref_kl", kl.item<double>(), weight);
    result.loss_sum = result.loss_sum + options_.kl_loss * kl;
  }
  record_spread(statistics, "importance_weight", actor.importance_weight, mask);
  const double kl_sum = masked_sum(actor.approx_kl, mask);
  statistics.mean("approx_kl", kl_sum, weight);
  statistics.mean("clip_ratio", actor.clip_mask.sum().item<double>(), weight);
  statistics.mean("dual_clip_ratio", actor.dual_clip_mask.sum().item<double>(), weight);
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

std::vector<metrics::Statistics> Grpo::train_step(ModelContext& model,
                                                  const data::SequenceBatch& input,
                                                  const CallContext& call) {
  const PreparedBatch prepared = prepare(model, input, call);
  const auto n = static_cast<int>(prepared.batch.size());
  std::vector<metrics::Statistics> records;
  for (int64_t reuse = 0; reuse < options_.sample_reuse; ++reuse) {
    const std::vector<int> order = minibatch_order(
        {.seed = call.seed, .step = call.step, .reuse = reuse, .data_rank = call.data_rank}, n);
    for (const std::vector<int>& sequences :
         cut_minibatches(order, static_cast<int>(options_.n_minibatches))) {
      const data::SequenceBatch minibatch = prepared.batch.select_samples(sequences);
      records.push_back(model.engine->step(
          minibatch, options_.temperature, minibatch.at("action_mask").sum().item<double>(),
          [this](const at::Tensor& log_probs, const data::SequenceBatch& part) {
            return loss(log_probs, part);
          },
          call.limits, ceilings_));
    }
  }
  records.front().merge(prepared.statistics);
  return records;
}

data::SequenceBatch Grpo::inference(ModelContext& model, const data::SequenceBatch& input,
                                    const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("packed_logprobs",
             current_log_probs(model, input, options_.temperature, call.limits).to(at::kFloat),
             action_lengths(input.meta.at("packed_input_ids").lengths));
  return output;
}

metrics::Statistics Grpo::evaluate(ModelContext& model, const EvaluationInput& input,
                                   const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
