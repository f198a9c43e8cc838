// Whether final answers are the same number, choice or text, in the forms that are common: no
// algebra (that is tools/rewards/math_answer.py). Numbers are compared exactly, as fractions.
// Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orrery::algorithm {

/// What a text gives as its answer: the content of the last \boxed{...} that is closed or the rest
/// of the line behind the last `####`, whichever comes later; else what follows the last "answer
/// is" or "answer:"; else its last line, if that is a short one and no prose; else its last number.
/// Nothing: none.
std::optional<std::string> final_answer(std::string_view text);

/// Whether two answers are equal: both numbers of one value (1,234.50, 3/4, \frac{3}{4}, 2 1/2,
/// 1.5\times10^3, 50% as 50 and as 1/2; a unit that only one has is left aside), one choice (B,
/// (B), \text{B}), or one text but for blanks, case and what LaTeX sets it in.
bool are_equal_answers(std::string_view given, std::string_view wanted);

}  // namespace orrery::algorithm
