#include "orrery/algorithm/overlong_penalty.h"

#include <cmath>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

void check(const OverlongPenalty& penalty) {
  if (penalty.max_length < 1 || penalty.buffer_length < 0 ||
      penalty.buffer_length > penalty.max_length) {
    throw ConfigError("penalty for long answers: the buffer does not fit",
                      {.expected = "0 <= buffer <= longest answer, which has at least 1 token",
                       .got = base::concat("buffer ", penalty.buffer_length, ", longest answer ",
                                           penalty.max_length),
                       .advice = {}});
  }
  if (!(penalty.factor >= 0) || !std::isfinite(penalty.factor)) {
    throw ConfigError("penalty for long answers: its size",
                      {.expected = "a finite number, at least 0",
                       .got = base::concat(penalty.factor),
                       .advice = {}});
  }
}

double overlong_penalty(int64_t length, const OverlongPenalty& penalty) {
  check(penalty);
  if (length < 0) {
    throw CallError("penalty for long answers: the length of an answer",
                    {.expected = "at least 0", .got = base::concat(length), .advice = {}});
  }
  const int64_t free = penalty.max_length - penalty.buffer_length;
  if (length <= free) return 0;
  if (length > penalty.max_length) return -penalty.factor;
  return penalty.factor * static_cast<double>(free - length) /
         static_cast<double>(penalty.buffer_length);
}

std::vector<OptionProblem> OverlongOptions::overlong_problems() const {
  if (!is_on()) {
    if (overlong_buffer == 0) return {};
    return {{"overlong_buffer", "has no effect without overlong_max_length",
             OptionProblem::Severity::kWarning}};
  }
  if (overlong_buffer <= overlong_max_length) return {};
  return {
      {"overlong_buffer", base::concat("is ", overlong_buffer, ", more than overlong_max_length (",
                                       overlong_max_length, "): lower it")}};
}

metrics::Statistics add_overlong_penalty(const OverlongOptions& options,
                                         const std::vector<int64_t>& lengths,
                                         std::vector<float>& rewards) {
  metrics::Statistics statistics;
  if (!options.is_on()) return statistics;
  double sum = 0;
  double n_penalised = 0;
  for (size_t i = 0; i < rewards.size(); ++i) {
    const double penalty = overlong_penalty(lengths.at(i), options.penalty());
    sum += penalty;
    n_penalised += penalty < 0 ? 1 : 0;
    rewards[i] += static_cast<float>(penalty);
  }
  const auto n = static_cast<double>(rewards.size());
  statistics.mean("overlong_penalty", sum, n);
  statistics.mean("overlong_share", n_penalised, n);
  return statistics;
}

std::vector<int64_t> answer_lengths(const std::vector<Response>& responses) {
  std::vector<int64_t> lengths;
  for (const Response& response : responses) lengths.push_back(response.n_tokens);
  return lengths;
}

}  // namespace orrery::algorithm
