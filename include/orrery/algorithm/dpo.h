// Interface `dpo`: a language model learns from what people prefer. train_step learns from pairs of
// answers (`loss` = dpo, robust_dpo, ipo, hinge, simpo, cpo, orpo: pair_losses.h) or from single
// ones that are called good or bad (kto: kto_loss.h). A reference model's inference gives the
// summed log-probability of each answer to those that have a reference.
#pragma once

#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/pair_losses.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct DpoOptions {
  std::string loss = "dpo";
  double beta = 0.1;
  double label_smoothing = 0;
  std::string length_normalization = "auto";
  double gamma = 0;
  double nll_coef = 0;
  std::string nll_reduction = "token_mean";
  double desirable_weight = 1;
  double undesirable_weight = 1;
  int64_t n_minibatches = 1;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DpoOptions;
    using config::at_least;
    using config::one_of;
    field(&C::loss, "loss",
          "what is minimised: of pairs dpo, robust_dpo, ipo, hinge and, without a reference, "
          "simpo, cpo, orpo; of single answers kto",
          one_of({"dpo", "robust_dpo", "ipo", "hinge", "simpo", "cpo", "orpo", "kto"}));
    field(&C::beta, "beta", "how closely the reference is kept to; orpo: weight of the odds ratio",
          config::above(0));
    field(&C::label_smoothing, "label_smoothing",
          "dpo, robust_dpo, simpo, cpo: share of pairs whose order is taken to be wrong; "
          "robust_dpo: below 0.5",
          config::in_range(0, 1));
    field(&C::length_normalization, "length_normalization",
          "mean: log-probabilities of a token on average, not of the whole answer; auto: mean with "
          "simpo and orpo, none with others",
          one_of({"auto", "none", "mean"}));
    field(&C::gamma, "gamma", "simpo: what the better answer should be ahead by", at_least(0));
    field(&C::nll_coef, "nll_coef",
          "weight of the better answers' negative log-likelihood (RPO; 1 in cpo and orpo as they "
          "were published); 0: none",
          at_least(0));
    field(&C::nll_reduction, "nll_reduction",
          "token_mean: its mean over all tokens of the minibatch; sequence_mean: mean of the "
          "answers' means",
          one_of({"token_mean", "sequence_mean"}));
    field(&C::desirable_weight, "desirable_weight", "kto: weight of good answers", at_least(0));
    field(&C::undesirable_weight, "undesirable_weight", "kto: weight of bad answers", at_least(0));
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch", at_least(1));
  }

  bool is_kto() const { return loss == "kto"; }
  /// Of another loss than kto. Throws ConfigError for a combination that has no meaning.
  PairLossOptions pair_options() const;
  /// Options and inputs that do not belong to the loss, or that it lacks.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class Dpo final : public Interface {
 public:
  explicit Dpo(DpoOptions options) : options_(std::move(options)) {}

  /// In: packed_input_ids, prompt_mask [T]. Out: seqlogp [N] fp32, the log-probability of each
  /// answer.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids, prompt_mask [T], sequences chosen, rejected, chosen, ...; ref_seqlogp
  /// [N] where the loss has a reference. The loss is the mean over pairs. Of kto one sequence a
  /// sample, desirable [N] and, for the reference point, the mismatched ones as kl_input_ids,
  /// kl_prompt_mask and kl_ref_seqlogp; the loss is the mean over answers.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  /// Of pairs: preference_accuracy, how often the better answer is the likelier one.
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

 private:
  metrics::Statistics train_on_pairs(ModelContext& model, const data::SequenceBatch& minibatch,
                                     const CallContext& call) const;
  metrics::Statistics train_on_answers(ModelContext& model, const data::SequenceBatch& minibatch,
                                       const CallContext& call) const;

  DpoOptions options_;
};

}  // namespace orrery::algorithm
