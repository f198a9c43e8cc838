#include "orrery/algorithm/rule_match.h"

#include "orrery/algorithm/math_match.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

MatchRule match_rule_named(std::string_view name) {
  if (name == "exact") return MatchRule::kExact;
  if (name == "numeric") return MatchRule::kNumeric;
  if (name == "math") return MatchRule::kMath;
  throw ConfigError(base::concat("unknown rule '", name, "'; there are exact, numeric and math"));
}

std::optional<std::string> canonical_integer(std::string_view text) {
  std::string_view digits = base::trim(text);
  const bool is_negative = digits.starts_with('-');
  if (is_negative) digits.remove_prefix(1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string_view::npos) return "0";
  std::string canonical;
  if (is_negative) canonical.push_back('-');
  canonical.append(digits.substr(first));
  return canonical;
}

namespace {

/// The final answer of a reference; a whole solution may stand where it is expected.
std::optional<std::string> wanted_answer(std::string_view answer) {
  const bool is_marked = answer.find("####") != answer.npos || answer.find("boxed") != answer.npos;
  return is_marked ? final_answer(answer) : std::optional(std::string(answer));
}

}  // namespace

bool can_match(MatchRule rule, std::string_view answer) {
  if (rule == MatchRule::kNumeric) return canonical_integer(answer).has_value();
  if (rule == MatchRule::kExact) return !base::trim(answer).empty();
  const std::optional<std::string> wanted = wanted_answer(answer);
  return wanted && are_equal_answers(*wanted, *wanted);
}

std::optional<std::string> given_answer(MatchRule rule, std::string_view response) {
  if (rule == MatchRule::kMath) return final_answer(response);
  if (rule == MatchRule::kExact) {
    const std::string_view text = base::trim(response);
    return text.empty() ? std::nullopt : std::optional(std::string(text));
  }
  const size_t equals = response.rfind('=');
  return canonical_integer(equals == std::string_view::npos ? response
                                                            : response.substr(equals + 1));
}

bool are_same_answers(MatchRule rule, std::string_view a, std::string_view b) {
  return rule == MatchRule::kMath ? are_equal_answers(a, b) : a == b;
}

bool is_match(MatchRule rule, std::string_view response, std::string_view answer) {
  if (!can_match(rule, answer)) return false;
  const std::optional<std::string> given = given_answer(rule, response);
  if (!given) return false;
  if (rule == MatchRule::kExact) return *given == base::trim(answer);
  if (rule == MatchRule::kNumeric) return given == canonical_integer(answer);
  return are_equal_answers(*given, *wanted_answer(answer));
}

}  // namespace orrery::algorithm
