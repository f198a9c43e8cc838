// Interface `ppo_critic`: the value model of PPO. inference says what each token is worth;
// train_step moves the values towards the returns, in the same minibatches as the actor's.
#pragma once

#include "orrery/algorithm/critic_loss.h"
#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/return_estimator.h"

namespace orrery::algorithm {

class PpoCritic final : public Interface {
 public:
  explicit PpoCritic(PpoCriticOptions options);

  /// In: packed_input_ids. Out: values [T] fp32, of the returns or with value_norm of the
  /// normalised returns.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids, prompt_mask, values [T], packed_logprobs [A], rewards, seq_no_eos_mask
  /// [N]; with kl_coef packed_ref_logprobs [A]. One record a minibatch.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;

  std::string state() const override { return estimator_.state(); }
  void restore(const std::string& state) override { estimator_.restore(state); }

 private:
  parallel::LossResult loss(const at::Tensor& values, const data::SequenceBatch& part) const;

  PpoCriticOptions options_;
  CriticLossOptions loss_options_;
  ReturnEstimator estimator_;
};

}  // namespace orrery::algorithm
