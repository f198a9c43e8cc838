// Interfaces `grpo` and `ppo_actor`: the policy of an experiment, with the other answers or with a
// critic's values as its baseline; they differ in their options' defaults (ppo_options.h).
// train_step trains; inference gives log-probabilities under the weights as they are (a reference
// model); evaluate answers greedily.
//
//   train_step: rewards -> advantages -> normalisation -> for each reuse: sequences in random
//   order, cut into minibatches -> for each: one optimizer step of the clipped loss
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/return_estimator.h"
#include "orrery/algorithm/rule_match.h"

namespace orrery::algorithm {

class PpoActor final : public Interface {
 public:
  /// Throws ConfigError for c_clip in (0, 1].
  explicit PpoActor(ActorOptions options);

  /// In: packed_input_ids, prompt_mask [T], packed_logprobs [A], rewards, seq_no_eos_mask [N]; with
  /// kl_coef or kl_loss also packed_ref_logprobs [A], with sampling_weight_cap sampling_logprobs
  /// [A], with top_entropy_fraction entropies [A]; rewards_2 and rewards_3 [N] and versions [A]
  /// int64 where bound, with interpolate_proximal and max_staleness; values, dense_rewards [T]
  /// where bound. One record a minibatch.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  /// In: packed_input_ids. Out: packed_logprobs [A] in the decoder's type.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

  std::string state() const override { return estimator_.state(); }
  void restore(const std::string& state) override { estimator_.restore(state); }

 private:
  /// What the loss of a batch is computed from. Keys of the batch besides packed_input_ids:
  /// old_log_probs, advantages [A], action_mask [A] bool, and where the options ask for them
  /// ref_log_probs, proximal_log_probs, rollout_weight, entropies and versions [A]. One sample is
  /// one sequence.
  struct Prepared {
    data::SequenceBatch batch;
    metrics::Statistics statistics;
  };
  Prepared prepare(ModelContext& model, const data::SequenceBatch& input, const CallContext& call);
  /// Whether log-probabilities before the first update are needed: a forward pass.
  bool needs_pass_before() const;
  void look_at_policy(ModelContext& model, const data::SequenceBatch& input,
                      const CallContext& call, const PolicyBatch& policy,
                      data::SequenceBatch& batch, metrics::Statistics& statistics) const;
  void correct_rollout(ModelContext& model, const data::SequenceBatch& input,
                       const CallContext& call, const at::Tensor& of_engine,
                       const PolicyBatch& policy, data::SequenceBatch& batch,
                       metrics::Statistics& statistics) const;
  /// Of the weights that this train step begins with: the steps before it.
  static int64_t current_version(const CallContext& call);
  static ObjectiveInput objective_input(const model::LogProbs& policy,
                                        const data::SequenceBatch& part);
  parallel::LossResult loss(const model::LogProbs& policy, const data::SequenceBatch& part,
                            const ObjectiveOptions& objective, const MinibatchTotals& totals) const;

  ActorOptions options_;
  ReturnEstimator estimator_;
  ObjectiveOptions objective_;
  MatchRule rule_;
  std::vector<double> ceilings_;  // of the mean ratio and the mean approx_kl; empty: no early stop
};

}  // namespace orrery::algorithm
