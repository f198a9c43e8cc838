// Interface `dpo`: direct preference optimisation. A reference model's inference gives the summed
// log-probability of each answer; train_step learns from pairs.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct DpoOptions {
  double beta = 0.1;
  int64_t n_minibatches = 1;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DpoOptions;
    field(&C::beta, "beta", "how closely the reference is kept to", config::above(0));
    field(&C::n_minibatches, "n_minibatches", "optimizer steps for each batch",
          config::at_least(1));
  }
};

class Dpo final : public Interface {
 public:
  explicit Dpo(DpoOptions options) : options_(options) {}

  /// In: packed_input_ids, prompt_mask [T]. Out: seqlogp [N] fp32, the log-probability of each
  /// answer.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;
  /// In: packed_input_ids, prompt_mask [T], sequences chosen, rejected, chosen, ...; ref_seqlogp
  /// [N]. The loss is the mean over pairs.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  /// Of pairs: eval/accuracy, how often the better answer is the likelier one.
  metrics::Statistics evaluate(ModelContext& model, const EvaluationInput& input,
                               const CallContext& call) override;

 private:
  DpoOptions options_;
};

}  // namespace orrery::algorithm
