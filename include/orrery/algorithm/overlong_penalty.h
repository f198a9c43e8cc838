// What an answer loses for its length (soft overlong punishment, DAPO, arXiv:2503.14476, equation
// 13): nothing up to max_length - buffer_length, then linearly more, and the whole penalty above
// max_length. Local; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/responses.h"
#include "orrery/config/field.h"
#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

struct OverlongPenalty {
  int64_t max_length = 0;     ///< tokens of an answer
  int64_t buffer_length = 0;  ///< of these the last ones, in which the penalty grows; 0: it jumps
  double factor = 1;          ///< the whole penalty
};

/// Throws ConfigError for a buffer that is negative or longer than max_length, a max_length below
/// 1, or a factor that is negative or not finite.
void check(const OverlongPenalty& penalty);

/// What is added to the reward of an answer of `length` tokens: 0 to -factor. Throws as check().
double overlong_penalty(int64_t length, const OverlongPenalty& penalty);

/// Options of rule_reward and command_reward.
struct OverlongOptions {
  int64_t overlong_max_length = 0;
  int64_t overlong_buffer = 0;
  double overlong_penalty = 1;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = OverlongOptions;
    field(&C::overlong_max_length, "overlong_max_length",
          "tokens above which an answer gets the whole penalty for its length; 0: no penalty",
          config::at_least(0));
    field(&C::overlong_buffer, "overlong_buffer",
          "the last tokens before that, in which the penalty grows from 0", config::at_least(0));
    field(&C::overlong_penalty, "overlong_penalty", "the whole penalty, taken off the reward",
          config::in_range(0, 1e30));
  }

  bool is_on() const { return overlong_max_length > 0; }
  OverlongPenalty penalty() const {
    return {overlong_max_length, overlong_buffer, overlong_penalty};
  }
  /// What contradicts.
  std::vector<OptionProblem> overlong_problems() const;
};

/// Adds its penalty to the reward of each answer, unless the options are off; NaN (no reward)
/// stays. Returns the statistics `overlong_penalty` (mean over the answers) and `overlong_share`
/// (of the answers that lost something), or none.
///   lengths, rewards  [answers]
metrics::Statistics add_overlong_penalty(const OverlongOptions& options,
                                         const std::vector<int64_t>& lengths,
                                         std::vector<float>& rewards);

/// Tokens of each answer, its end token included.
std::vector<int64_t> answer_lengths(const std::vector<Response>& responses);

}  // namespace orrery::algorithm
