// Interface `format_reward`: scores answers by their form: a pattern that they match, bounds of
// their length. What they say is nobody's concern here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/text_pattern.h"
#include "orrery/config/experiment.h"  // CallConfig
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct FormatRewardOptions {
  std::string pattern;
  int64_t min_tokens = 0;
  int64_t max_tokens = 0;
  double correct = 1;
  double wrong = 0;
  bool dump_samples = false;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = FormatRewardOptions;
    field(&C::pattern, "pattern",
          "regular expression (PCRE2) that the answer must match somewhere; ^ and $ are its ends, "
          "(?s) lets . match line ends; empty: any answer",
          text_pattern());
    field(&C::min_tokens, "min_tokens", "shortest answer, in tokens, the end token included",
          config::at_least(0));
    field(&C::max_tokens, "max_tokens", "longest answer, in tokens, the end token included; 0: any",
          config::at_least(0));
    field(&C::correct, "correct", "reward of an answer of this form",
          config::in_range(-1e30, 1e30));
    field(&C::wrong, "wrong", "reward of another one", config::in_range(-1e30, 1e30));
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  /// Bounds that no answer keeps; neither pattern nor bounds.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class FormatReward final : public Interface {
 public:
  explicit FormatReward(FormatRewardOptions options);

  /// In: packed_input_ids, prompt_mask and, if there are any, answers [bytes] uint8.
  /// Out: rewards [N] fp32.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

 private:
  FormatRewardOptions options_;
  std::unique_ptr<TextPattern> pattern_;  // null: any text
};

}  // namespace orrery::algorithm
