// Rewards of a right and of a wrong answer, where an interface gives no others. Pure.
#pragma once

#include <optional>

#include "orrery/algorithm/option_problem.h"

namespace orrery::algorithm {

/// What is wrong where the two are one number in fp32: nothing is learned from it.
std::optional<OptionProblem> problem_of_outcomes(double correct, double wrong);

/// The same of rewards that are all multiplied by 0 in fp32.
std::optional<OptionProblem> problem_of_scaling(double output_scaling);

}  // namespace orrery::algorithm
