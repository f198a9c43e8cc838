// Interface `sft`: supervised fine-tuning, cross-entropy of the answer tokens.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct SftOptions {
  int64_t n_minibatches = 1;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&SftOptions::n_minibatches, "n_minibatches", "optimizer steps for each batch",
          config::at_least(1));
    field(&SftOptions::match, "match", "when an evaluated answer is right",
          config::one_of({"exact", "numeric", "math"}));
  }
};

/// Loss of the answer tokens of a packed batch.
///   log_probs    [A] differentiable
///   prompt_mask  [T] bool
/// Returns the sum over answer tokens; statistics: loss, perplexity of each sequence, counts.
parallel::LossResult sft_loss(const at::Tensor& log_probs, const at::Tensor& prompt_mask,
                              const std::vector<int32_t>& lengths);

class Sft final : public Interface {
 public:
  explicit Sft(SftOptions options) : options_(options), rule_(match_rule_named(options.match)) {}

  /// In: packed_input_ids [T] int64, prompt_mask [T] bool.
  std::vector<metrics::Statistics> train_step(ModelContext& model, const data::SequenceBatch& input,
                                              const CallContext& call) override;
  Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                      const CallContext& call) override;

 private:
  SftOptions options_;
  MatchRule rule_;
};

}  // namespace orrery::algorithm
