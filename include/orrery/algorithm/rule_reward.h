// Interface `rule_reward`: scores answers by comparing them with the record's reference answer.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/overlong_penalty.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct RuleRewardOptions : OverlongOptions {
  std::string match = "exact";
  double correct = 1;
  double wrong = 0;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = RuleRewardOptions;
    field(
        &C::match, "match",
        "exact: same text; numeric: the integer after the last '=' is the answer; math: the final "
        "answer is the same number, choice or text",
        config::one_of({"exact", "numeric", "math"}));
    field(&C::correct, "correct", "reward of a right answer", config::in_range(-1e30, 1e30));
    field(&C::wrong, "wrong", "reward of a wrong answer", config::in_range(-1e30, 1e30));
    OverlongOptions::visit_fields(field);
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  /// A penalty for long answers that contradicts itself; one reward for right and wrong.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class RuleReward final : public Interface {
 public:
  explicit RuleReward(RuleRewardOptions options)
      : options_(options), rule_(match_rule_named(options.match)) {}

  /// In: packed_input_ids, prompt_mask, answers [bytes] uint8. Out: rewards [N] fp32.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

 private:
  RuleRewardOptions options_;
  MatchRule rule_;
};

}  // namespace orrery::algorithm
