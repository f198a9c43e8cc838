// Interfaces `distill` and `distill_full`: a student learns from a teacher, a role of its own that
// may be of any size and has the student's tokenizer.
//
//   distill       on-policy: the student generates, the teacher's inference gives the
//                 log-probability of each token, and teacher - student becomes the token's
//                 advantage (sampled_distillation.h), beside that of a reward where there is one
//   distill_full  on given or generated answers: the divergence of the whole next-token
//                 distributions (model/divergence.h). The teacher's inference gives hidden states;
//                 train_step makes both logits of a chunk of tokens at a time, with the head of the
//                 teacher's shard on the same worker
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/algorithm/sampled_distillation.h"
#include "orrery/config/field.h"
#include "orrery/model/divergence.h"

namespace orrery::algorithm {

struct DistillOptions {
  double coef = 1;
  double discount = 0;
  std::string student_log_probs = "old";
  std::string surrogate = "importance_sampling";
  std::string estimator = "none";
  double reward_coef = 1;
  double temperature = 1;
  int64_t n_minibatches = 1;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DistillOptions;
    field(&C::coef, "coef", "weight of teacher - student in the advantage", config::at_least(0));
    field(&C::discount, "discount",
          "weight of what a token leads to, one token later; 0: each token alone",
          config::in_range(0, 1));
    field(&C::student_log_probs, "student_log_probs",
          "whose log-probabilities the teacher's are compared with: those before the step (old) or "
          "of the model as it is now (current)",
          config::one_of({"old", "current"}));
    field(&C::surrogate, "surrogate",
          "importance_sampling: the ratio to the log-probabilities before the step; reinforce: the "
          "log-probability",
          config::one_of({"importance_sampling", "reinforce"}));
    field(
        &C::estimator, "estimator",
        "what the input rewards add to the advantage: that of an answer against the prompt's other "
        "answers, as grpo, dr_grpo or rloo has it; none: nothing, not read",
        config::one_of({"none", "grpo", "dr_grpo", "rloo"}));
    field(&C::reward_coef, "reward_coef", "weight of that advantage", config::at_least(0));
    field(&C::temperature, "temperature", "as in generation: divides the logits", config::above(0));
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch",
          config::at_least(1));
    field(&C::match, "match", "when an evaluated answer is right",
          config::one_of({"exact", "numeric", "math"}));
  }

  bool has_rewards() const { return estimator != "none"; }
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

/// [A] fp64: reward_coef times the advantage of each answer among the answers to its prompt, at all
/// its actions; 0 for an answer whose reward is NaN, which is no member of its group.
///   input  packed_input_ids [T], rewards [N]
/// Local. Of options with an estimator. Throws CallError for a reward that is infinite.
at::Tensor task_advantages(const data::SequenceBatch& input, const DistillOptions& options);

class Distill final : public Interface {
 public:
  explicit Distill(DistillOptions options);

  /// In: packed_input_ids. Out: packed_logprobs [A] in the decoder's type.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids, prompt_mask [T], packed_logprobs, teacher_logprobs [A], with an
  /// estimator rewards [N]. The loss is the mean over answer tokens; one record a minibatch.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

 private:
  DistillOptions options_;
  SampledDistillationOptions loss_;
  MatchRule rule_;
};

struct DistillFullOptions {
  std::string divergence = "reverse_kl";
  double beta = 0.5;
  double softmax_temperature = 1;
  bool times_temperature_squared = false;
  int64_t n_minibatches = 1;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DistillFullOptions;
    field(&C::divergence, "divergence",
          "forward_kl: from teacher to student; reverse_kl: from student to teacher; jsd: of both "
          "to their mixture",
          config::one_of({"forward_kl", "reverse_kl", "jsd"}));
    field(&C::beta, "beta", "jsd: the teacher's share of the mixture, above 0 and below 1",
          config::in_range(0, 1));
    field(&C::softmax_temperature, "softmax_temperature", "divides the logits of both",
          config::above(0));
    field(&C::times_temperature_squared, "times_temperature_squared",
          "the loss times softmax_temperature squared, for gradients of one size",
          config::anything());
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch",
          config::at_least(1));
    field(&C::match, "match", "when an evaluated answer is right",
          config::one_of({"exact", "numeric", "math"}));
  }

  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class DistillFull final : public Interface {
 public:
  explicit DistillFull(DistillFullOptions options);

  /// In: packed_input_ids. Out: teacher_hidden [T, H] in the decoder's type, the output of the last
  /// norm.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids, prompt_mask [T], teacher_hidden [T, H of the teacher]. The loss is the
  /// mean over answer tokens; one record a minibatch. Needs ModelContext::teacher.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

 private:
  DistillFullOptions options_;
  model::DivergenceOptions divergence_;
  MatchRule rule_;
};

}  // namespace orrery::algorithm
