// Interface `grpo`: policy optimisation with the group of a prompt's answers as its baseline
// (Shao et al. 2024, DeepSeekMath), no critic. train_step trains; inference gives log-probabilities
// under the weights as they are (a reference model); evaluate answers greedily.
//
//   train_step: rewards -> advantages -> normalisation -> for each reuse: sequences in random
//   order, cut into minibatches -> for each: one optimizer step of the clipped loss
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/policy_batch.h"
#include "orrery/algorithm/ppo_loss.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct GrpoOptions {
  int64_t n_minibatches = 1;
  int64_t sample_reuse = 1;
  double temperature = 1;
  double eps_clip = 0.2;
  double c_clip = 0;
  double kl_ctl = 0;
  double kl_loss = 0;
  double discount = 1;
  double gae_lambda = 1;
  bool group_adv_norm = true;
  bool adv_norm = false;
  double max_reward_clip = 5;
  double reward_scaling = 1;
  double reward_bias = 0;
  bool mask_no_eos_with_zero = false;
  bool mask_too_long = false;
  bool recompute_log_probs = false;
  double behav_imp_weight_cap = 0;
  double early_stop_imp_ratio = 0;
  double early_stop_kl = 0;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = GrpoOptions;
    using config::anything;
    using config::at_least;
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch", at_least(1));
    field(&C::sample_reuse, "sample_reuse", "times that each batch is gone through", at_least(1));
    field(&C::temperature, "temperature", "as in generation: divides the logits", config::above(0));
    field(&C::eps_clip, "eps_clip", "the ratio is clipped to 1 - eps .. 1 + eps", at_least(0));
    field(&C::c_clip, "c_clip", "dual clipping, above 1; 0: none", at_least(0));
    field(&C::kl_ctl, "kl_ctl",
          "weight of the KL reward against packed_ref_logprobs; 0: none, not read", at_least(0));
    field(&C::kl_loss, "kl_loss",
          "weight of the KL divergence from packed_ref_logprobs in the loss; 0: none, not read",
          at_least(0));
    field(&C::discount, "discount", "gamma of the advantage estimation", config::in_range(0, 1));
    field(&C::gae_lambda, "gae_lambda", "lambda of the advantage estimation",
          config::in_range(0, 1));
    field(&C::group_adv_norm, "group_adv_norm",
          "normalise advantages over the answers of each prompt", anything());
    field(&C::adv_norm, "adv_norm", "normalise advantages over the whole batch of all data ranks",
          anything());
    field(&C::max_reward_clip, "max_reward_clip", "rewards are clipped to +- this", at_least(0));
    field(&C::reward_scaling, "reward_scaling", "rewards are multiplied by this ...", anything());
    field(&C::reward_bias, "reward_bias", "... after this was subtracted", anything());
    field(&C::mask_no_eos_with_zero, "mask_no_eos_with_zero",
          "answers without an end token get no reward", anything());
    field(&C::mask_too_long, "mask_too_long", "answers without an end token are not learned from",
          anything());
    field(&C::recompute_log_probs, "recompute_log_probs",
          "decoupled loss: the ratio is to log-probabilities computed before the train step",
          anything());
    field(&C::behav_imp_weight_cap, "behav_imp_weight_cap",
          "with recompute_log_probs: tokens with a larger weight are dropped; 0: none",
          at_least(0));
    field(&C::early_stop_imp_ratio, "early_stop_imp_ratio",
          "skip a minibatch whose mean ratio is above this; 0: never", at_least(0));
    field(&C::early_stop_kl, "early_stop_kl",
          "skip a minibatch whose mean approx_kl is above this; 0: never", at_least(0));
    field(&C::match, "match", "when an evaluated answer is right",
          config::one_of({"exact", "numeric"}));
  }

  bool needs_reference() const { return kl_ctl > 0 || kl_loss > 0; }

  /// c_clip at or below 1; a KL term without the reference's log-probabilities.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

/// What the policy loss of a batch is computed from; keys of the batch it returns besides
/// packed_input_ids: old_log_probs, advantages [A] fp32, action_mask [A] bool, and where the
/// options ask for them ref_log_probs and proximal_log_probs [A]. One sample is one sequence.
struct PreparedBatch {
  data::SequenceBatch batch;
  metrics::Statistics statistics;
};

class Grpo final : public Interface {
 public:
  /// Throws ConfigError for c_clip in (0, 1].
  explicit Grpo(GrpoOptions options);

  /// In: packed_input_ids, prompt_mask [T], packed_logprobs [A], rewards, seq_no_eos_mask [N]; with
  /// kl_ctl or kl_loss also packed_ref_logprobs [A]. One record a minibatch.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  /// In: packed_input_ids. Out: packed_logprobs [A] fp32.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  metrics::Statistics evaluate(ModelContext& model, const EvaluationInput& input,
                               const CallContext& call) override;

 private:
  PreparedBatch prepare(ModelContext& model, const data::SequenceBatch& input,
                        const CallContext& call) const;
  at::Tensor normalized(const at::Tensor& advantages, const at::Tensor& mask,
                        const data::NestedLengths& tokens, ModelContext& model) const;
  parallel::LossResult loss(const at::Tensor& log_probs, const data::SequenceBatch& part) const;

  GrpoOptions options_;
  MatchRule rule_;
  std::vector<double> ceilings_;  // of the mean ratio and the mean approx_kl; empty: no early stop
};

}  // namespace orrery::algorithm
