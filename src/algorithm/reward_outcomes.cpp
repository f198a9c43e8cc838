#include "orrery/algorithm/reward_outcomes.h"

#include "orrery/base/text.h"

namespace orrery::algorithm {

std::optional<OptionProblem> problem_of_outcomes(double correct, double wrong) {
  if (static_cast<float>(correct) != static_cast<float>(wrong)) return std::nullopt;
  return OptionProblem{wrong != 0 ? "wrong" : "correct",
                       base::concat("correct and wrong are both ", wrong,
                                    ": right and wrong answers get one reward and nothing is "
                                    "learned; write another one of the two")};
}

std::optional<OptionProblem> problem_of_scaling(double output_scaling) {
  if (static_cast<float>(output_scaling) != 0) return std::nullopt;
  return OptionProblem{"output_scaling", "0 makes every reward the same: nothing would be learned"};
}

}  // namespace orrery::algorithm
