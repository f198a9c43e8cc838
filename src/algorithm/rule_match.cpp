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

bool can_match(MatchRule rule, std::string_view answer) {
  return rule == MatchRule::kNumeric ? canonical_integer(answer).has_value()
                                     : !base::trim(answer).empty();
}

bool is_match(MatchRule rule, std::string_view response, std::string_view answer) {
  if (!can_match(rule, answer)) return false;
  if (rule == MatchRule::kExact) return base::trim(response) == base::trim(answer);
  if (rule == MatchRule::kMath) {
    const auto given = final_answer(response);
    if (!given) return false;
    // A whole solution may stand where the answer is expected.
    const bool is_marked =
        answer.find("####") != answer.npos || answer.find("boxed") != answer.npos;
    const auto wanted = is_marked ? final_answer(answer) : std::optional(std::string(answer));
    return wanted && are_equal_answers(*given, *wanted);
  }
  const size_t equals = response.rfind('=');
  const std::string_view last =
      equals == std::string_view::npos ? response : response.substr(equals + 1);
  const auto given = canonical_integer(last);
  return given && given == canonical_integer(answer);
}

}  // namespace orrery::algorithm
