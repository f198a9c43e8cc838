// Interface `reward_model`: a model with a value head that says how good an answer is. train_step
// learns it from pairs; inference gives the rewards of a PPO or GRPO graph.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/experiment.h"  // CallConfig
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct RewardModelOptions {
  int64_t n_minibatches = 1;
  double centering_coef = 0;
  double output_scaling = 1;
  double output_bias = 0;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = RewardModelOptions;
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch",
          config::at_least(1));
    field(&C::centering_coef, "centering_coef",
          "train_step: weight of the squared sum of a pair's scores, which holds them around 0; 0: "
          "none",
          config::at_least(0));
    field(&C::output_scaling, "output_scaling", "inference: scores are multiplied by this ...",
          config::in_range(-1e30, 1e30));
    field(&C::output_bias, "output_bias", "... after this was subtracted",
          config::in_range(-1e30, 1e30));
    field(&C::dump_samples, "dump_samples", "inference: write answers and rewards to samples/",
          config::anything());
  }

  /// Scores that are all made one reward.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class RewardModel final : public Interface {
 public:
  explicit RewardModel(RewardModelOptions options) : options_(options) {}

  /// In: packed_input_ids [T]; prompt_mask [T] and answers where samples are to be dumped. Out:
  /// rewards [N] fp32, the score of each sequence's last token. Throws CallError for a score that
  /// is not finite.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids [T], sequences chosen, rejected, chosen, ...; margins [N / 2] where it is
  /// known how much better the chosen ones are. The loss is the mean over samples of the mean over
  /// the sample's pairs.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  /// Of pairs: preference_accuracy, how often the better answer has the higher score.
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

 private:
  RewardModelOptions options_;
};

}  // namespace orrery::algorithm
