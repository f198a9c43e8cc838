// Whether an answer is right, by rule. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orrery::algorithm {

enum class MatchRule {
  kExact,    ///< response and answer are equal after removing blanks at both ends
  kNumeric,  ///< the text after the response's last '=' is an integer equal to the answer
  kMath,     ///< the response's final answer is the same number, choice or text (math_match.h)
};

/// `exact`, `numeric` or `math`. Throws ConfigError for another name.
MatchRule match_rule_named(std::string_view name);

/// An optional '-' and decimal digits with blanks around, in canonical form (no leading zeros, no
/// -0); nothing when it is something else. Of any length.
std::optional<std::string> canonical_integer(std::string_view text);

/// Whether any response can match: exact wants a text that is not blank, numeric an integer, math a
/// final answer (none of `####` and `\boxed{}` with nothing in them).
bool can_match(MatchRule rule, std::string_view answer);

/// What a response gives as its answer, in the form in which answers can be counted: exact the text
/// without blanks at its ends, numeric the canonical integer, math the final answer. Nothing: none
/// can be read.
std::optional<std::string> given_answer(MatchRule rule, std::string_view response);

/// Whether two such answers are the same one.
bool are_same_answers(MatchRule rule, std::string_view a, std::string_view b);

/// False where can_match() is: an answer that is not there is not matched by nothing.
bool is_match(MatchRule rule, std::string_view response, std::string_view answer);

}  // namespace orrery::algorithm
