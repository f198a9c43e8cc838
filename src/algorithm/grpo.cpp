#include "orrery/algorithm/grpo.h"

#include <ATen/core/grad_mode.h>  // NoGradGuard

#include "orrery/algorithm/evaluation.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// Lengths of actions for lengths of tokens.
data::NestedLengths action_lengths(const data::NestedLengths& tokens) {
  std::vector<int32_t> lengths = tokens.flat();
  for (int32_t& length : lengths) --length;
  return data::NestedLengths::from_flat(std::move(lengths), tokens.offsets());
}

/// Log-probabilities under the weights as they are, in the batch's order. Local.
at::Tensor current_log_probs(ModelContext& model, const data::SequenceBatch& input,
                             double temperature, const CallContext& call) {
  const at::NoGradGuard no_grad;
  std::vector<data::SequenceBatch> parts = parallel::micro_batches(input, call.limits);
  std::vector<data::SequenceBatch> results;
  for (const data::SequenceBatch& part : parts) {
    const data::NestedLengths& tokens = part.meta.at("packed_input_ids").lengths;
    data::SequenceBatch result;
    result.meta.ids = part.meta.ids;
    result.set(
        "log_probs",
        model.decoder
            ->log_probs(model::pack_tokens(part.at("packed_input_ids"), tokens.flat()), temperature)
            .to(at::kFloat),
        action_lengths(tokens));
    results.push_back(std::move(result));
  }
  if (results.empty()) return at::empty({0}, at::kFloat);
  // Micro-batches regroup the samples: put them back in their order.
  const data::SequenceBatch all = data::gather(results);
  std::map<data::SampleId, int> place;
  for (size_t i = 0; i < all.size(); ++i) place[all.meta.ids[i]] = static_cast<int>(i);
  std::vector<int> order;
  for (const data::SampleId id : input.meta.ids) order.push_back(place.at(id));
  return all.select_samples(order).at("log_probs");
}

double sum_where(const at::Tensor& values, const at::Tensor& mask) {
  return at::where(mask, values.to(at::kDouble), 0.0).sum().item<double>();
}

/// Mean, smallest and largest of `values` over `mask`.
void record(metrics::Statistics& statistics, const std::string& name, const at::Tensor& values,
            const at::Tensor& mask) {
  const double weight = mask.sum().item<double>();
  if (weight == 0) return;
  const at::Tensor chosen = values.detach().masked_select(mask).to(at::kDouble);
  statistics.mean(name, chosen.sum().item<double>(), weight);
  statistics.min(name + "_min", chosen.min().item<double>());
  statistics.max(name + "_max", chosen.max().item<double>());
}

}  // namespace

Grpo::Grpo(GrpoOptions options) : options_(options), rule_(match_rule_named(options.match)) {
  if (options_.c_clip != 0 && options_.c_clip <= 1) {
    throw ConfigError(base::concat("c_clip must be 0 or above 1, got ", options_.c_clip));
  }
}

PreparedBatch Grpo::prepare(ModelContext& model, const data::SequenceBatch& input,
                            const CallContext& call) const {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const std::vector<int32_t>& lengths = tokens.flat();
  const at::Tensor no_eos = input.at("seq_no_eos_mask").to(at::kBool);

  at::Tensor mask = action_mask(input.at("prompt_mask"), lengths);
  if (options_.mask_too_long) mask = mask.logical_and(per_action(no_eos, lengths).logical_not());
  const at::Tensor old_log_probs = input.at("packed_logprobs") * mask;
  const at::Tensor scores = (input.at("rewards") - options_.reward_bias) * options_.reward_scaling;
  const ActionRewards rewards = action_rewards(
      {.log_probs = old_log_probs,
       .ref_log_probs = options_.kl_ctl > 0 ? input.at("packed_ref_logprobs") * mask : at::Tensor(),
       .scores = scores,
       .dense_scores = {},
       .no_eos = no_eos},
      {.kl_ctl = options_.kl_ctl,
       .clip = options_.max_reward_clip,
       .mask_no_eos_with_zero = options_.mask_no_eos_with_zero},
      lengths);
  const at::Tensor no_values = at::zeros({tokens.grand_total()}, at::kFloat);
  at::Tensor advantages = estimate_advantages(rewards.rewards, no_values, no_eos, lengths,
                                              options_.discount, options_.gae_lambda)
                              .advantages;
  if (options_.group_adv_norm) {
    std::vector<at::Tensor> groups;
    int64_t begin = 0;
    for (size_t i = 0; i < input.size(); ++i) {
      const std::span<const int32_t> own = tokens.of(i);
      const int64_t actions = tokens.total(i) - static_cast<int64_t>(own.size());
      groups.push_back(masked_normalization(advantages.narrow(0, begin, actions),
                                            mask.narrow(0, begin, actions)));
      begin += actions;
    }
    if (!groups.empty()) advantages = at::cat(groups);
  }
  if (options_.adv_norm) advantages = masked_normalization(advantages, mask, model.data_group);

  PreparedBatch prepared;
  const data::NestedLengths actions = action_lengths(tokens);
  const std::string keys[] = {"packed_input_ids"};
  prepared.batch = input.select(keys);
  prepared.batch.set("old_log_probs", old_log_probs, actions);
  prepared.batch.set("advantages", advantages, actions);
  prepared.batch.set("action_mask", mask, actions);
  if (options_.recompute_log_probs) {
    prepared.batch.set("proximal_log_probs",
                       current_log_probs(model, input, options_.temperature, call) * mask, actions);
  }
  const auto n = static_cast<double>(lengths.size());
  prepared.statistics.mean("task_reward", input.at("rewards").sum().item<double>(), n);
  prepared.statistics.mean("no_eos_ratio", no_eos.sum().item<double>(), n);
  prepared.statistics.mean("seq_len", static_cast<double>(tokens.grand_total()), n);
  prepared.statistics.sum("n_seqs", n);
  record(prepared.statistics, "advantage", advantages, mask);
  if (options_.kl_ctl > 0) record(prepared.statistics, "kl_reward", rewards.kl_rewards, mask);
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
  result.loss_sum = at::where(mask, actor.loss, 0.0).sum();
  const double weight = mask.sum().item<double>();
  result.statistics.mean("actor_loss", result.loss_sum.item<double>(), weight);
  record(result.statistics, "importance_weight", actor.importance_weight, mask);
  result.statistics.mean("approx_kl", sum_where(actor.approx_kl, mask), weight);
  result.statistics.mean("clip_ratio", actor.clip_mask.sum().item<double>(), weight);
  result.statistics.mean("dual_clip_ratio", actor.dual_clip_mask.sum().item<double>(), weight);
  if (actor.behaviour_mask.defined()) {
    record(result.statistics, "behave_imp_weight", actor.behaviour_weight, actor.behaviour_mask);
    result.statistics.mean("behave_approx_kl", sum_where(actor.behaviour_kl, actor.behaviour_mask),
                           actor.behaviour_mask.sum().item<double>());
  }
  result.statistics.sum("n_valid_tokens", weight);
  return result;
}

std::vector<metrics::Statistics> Grpo::train_step(ModelContext& model,
                                                  const data::SequenceBatch& input,
                                                  const CallContext& call) {
  const PreparedBatch prepared = prepare(model, input, call);
  std::vector<metrics::Statistics> records;
  for (int64_t reuse = 0; reuse < options_.sample_reuse; ++reuse) {
    data::SequenceBatch batch = prepared.batch;
    if (options_.n_minibatches > 1 || reuse > 0) {
      batch = batch.reorder(minibatch_order(call.seed, call.step * 1000 + reuse, call.data_rank,
                                            static_cast<int>(batch.size())));
    }
    const std::vector<int> sizes = data::minibatch_sizes(static_cast<int>(batch.size()),
                                                         static_cast<int>(options_.n_minibatches));
    for (const data::SequenceBatch& minibatch : batch.split({.sizes = sizes, .ranges = {}})) {
      records.push_back(model.engine->step(
          minibatch, options_.temperature, minibatch.at("action_mask").sum().item<double>(),
          [this](const at::Tensor& log_probs, const data::SequenceBatch& part) {
            return loss(log_probs, part);
          },
          call.limits));
    }
  }
  records.front().merge(prepared.statistics);
  return records;
}

data::SequenceBatch Grpo::inference(ModelContext& model, const data::SequenceBatch& input,
                                    const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("packed_logprobs", current_log_probs(model, input, options_.temperature, call),
             action_lengths(input.meta.at("packed_input_ids").lengths));
  return output;
}

metrics::Statistics Grpo::evaluate(ModelContext& model, const EvaluationInput& input,
                                   const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
