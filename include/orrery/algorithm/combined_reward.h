// Interface `combined_reward`: one reward out of those of several calls, each with its weight.
//
//   [call.math]     interface = rule_reward        outputs = rewards:math
//   [call.format]   interface = format_reward      outputs = rewards:format
//   [call.reward]   interface = combined_reward    inputs = packed_input_ids, math, format
//                   rewards = math:1.0, format:0.2
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/experiment.h"  // CallConfig
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct WeightedReward {
  std::string name;  ///< of the key that has it
  double weight = 1;
};

/// `math:1.0, format:0.2`; why a text is no such list.
std::variant<std::vector<WeightedReward>, std::string> weighted_rewards(std::string_view text);
config::Check weighted_rewards_list();

struct CombinedRewardOptions {
  std::string rewards;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = CombinedRewardOptions;
    field(&C::rewards, "rewards",
          "keys that hold rewards, each with its weight in the sum: math:1.0, format:0.2",
          weighted_rewards_list());
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  /// A key that is no input of the call, and one without a weight; weights of 0 only.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class CombinedReward final : public Interface {
 public:
  explicit CombinedReward(CombinedRewardOptions options);

  /// In: packed_input_ids, prompt_mask, the key [N] fp32 of each reward and, if there are any,
  /// answers [bytes] uint8. Out: rewards [N] fp32, the weighted sums; NaN where one of them is.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

 private:
  CombinedRewardOptions options_;
  std::vector<WeightedReward> rewards_;
};

}  // namespace orrery::algorithm
