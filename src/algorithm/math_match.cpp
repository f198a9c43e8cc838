#include "orrery/algorithm/math_match.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdlib>  // abs
#include <utility>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using std::string;
using std::string_view;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

string lowered(string_view text) {
  string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

string without_blanks(string_view text) {
  string result;
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c)) == 0) result += c;
  }
  return result;
}

void replace_all(string& text, string_view from, string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

/// The place behind the brace that closes the one at `open`, or npos.
size_t closing(string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (i > 0 && text[i - 1] == '\\') continue;
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return i + 1;
  }
  return string_view::npos;
}

struct Found {
  size_t at = 0;
  string_view text = {};
};

std::optional<Found> last_box(string_view text) {
  for (size_t at = text.size(); at > 0 && (at = text.rfind("boxed", at - 1)) != text.npos;) {
    const size_t open = text.find_first_not_of(' ', at + 5);
    if (open == text.npos || text[open] != '{') continue;
    const size_t end = closing(text, open);
    if (end != text.npos) return Found{at, text.substr(open + 1, end - open - 2)};
  }
  return std::nullopt;
}

/// Behind the last "answer is" or "answer:", up to the end of the sentence.
std::optional<string_view> phrase(string_view text) {
  const string small = lowered(text);
  for (size_t at = small.size(); at > 0 && (at = small.rfind("answer", at - 1)) != string::npos;) {
    size_t begin = at + 6;
    for (const char* word : {":", " is", " =", ":"}) {
      if (string_view(small).substr(begin).starts_with(word)) begin += string_view(word).size();
    }
    if (begin == at + 6) continue;
    while (begin < text.size() && (text[begin] == '*' || text[begin] == ' ')) ++begin;
    size_t end = begin;
    while (end < text.size() && text[end] != '\n' &&
           !(text[end] == '.' && (end + 1 == text.size() || !is_digit(text[end + 1])))) {
      ++end;
    }
    if (end > begin) return text.substr(begin, end - begin);
  }
  return std::nullopt;
}

/// Names of one unit, in lower case and the singular.
constexpr std::string_view kUnits[] = {"m meter metre",
                                       "cm centimeter centimetre",
                                       "mm millimeter millimetre",
                                       "km kilometer kilometre",
                                       "inch inche in",
                                       "ft foot feet",
                                       "yd yard",
                                       "mile mi",
                                       "second sec s",
                                       "minute min",
                                       "hour hr h",
                                       "day",
                                       "week wk",
                                       "month",
                                       "year yr",
                                       "g gram",
                                       "kg kilogram",
                                       "mg milligram",
                                       "lb pound",
                                       "oz ounce",
                                       "l liter litre",
                                       "ml milliliter millilitre",
                                       "dollar usd buck",
                                       "cent",
                                       "euro eur",
                                       "degree deg",
                                       "percent",
                                       "unit",
                                       "mile/hour mph",
                                       "km/hour km/h kph",
                                       "m/second m/s",
                                       "square sq",
                                       "cubic cu",
                                       "people person",
                                       "time",
                                       "piece",
                                       "point",
                                       "apple",
                                       "per"};

string singular(string_view name) {
  if (name.size() > 2 && name.ends_with('s')) name.remove_suffix(1);
  return string(name);
}

/// The first of a known unit's names; nothing of other words.
std::optional<string_view> known_unit(string_view name) {
  const string wanted = singular(name);
  for (const string_view names : kUnits) {
    for (const string& one : base::split(names, ' ')) {
      if (one == wanted || one == name) return names.substr(0, names.find(' '));
    }
  }
  return std::nullopt;
}

/// Five million are not five of anything.
constexpr std::array<string_view, 6> kMultiples = {"dozen",   "hundred", "thousand",
                                                   "million", "billion", "trillion"};

bool is_multiple(string_view name) {
  return std::find(kMultiples.begin(), kMultiples.end(), singular(name)) != kMultiples.end();
}

/// Where the units and multiples end that stand behind a number: the `hours` of `5 hours in all`.
/// Of `5 dollars per day` there are none: the number may be wanted in dollars.
size_t end_of_units(string_view text, size_t end_of_number) {
  size_t end = end_of_number;
  for (size_t at = end; at < text.size() && text[at] == ' ';) {
    size_t word_end = ++at;
    while (word_end < text.size() && (is_letter(text[word_end]) || text[word_end] == '/')) {
      ++word_end;
    }
    const string word = lowered(text.substr(at, word_end - at));
    if (word == "per") return end_of_number;
    if (word == "in" || !(known_unit(word) || is_multiple(word))) break;
    end = at = word_end;
  }
  return end;
}

/// A number as it stands in running text, with its sign, commas, point, slash, percent and unit.
std::optional<string_view> last_number(string_view text) {
  size_t end = text.find_last_of("0123456789");
  if (end == text.npos) return std::nullopt;
  size_t begin = end++;
  const auto goes_on = [&](size_t i) {
    return is_digit(text[i]) ||
           ((text[i] == ',' || text[i] == '.' || text[i] == '/') && i > 0 && is_digit(text[i - 1]));
  };
  while (begin > 0 && goes_on(begin - 1)) --begin;
  const bool has_sign = begin > 0 && text[begin - 1] == '-' &&
                        (begin == 1 || !(is_digit(text[begin - 2]) || is_letter(text[begin - 2])));
  if (has_sign) --begin;
  end = end < text.size() && text[end] == '%' ? end + 1 : end_of_units(text, end);
  return text.substr(begin, end - begin);
}

/// Without the signs of mathematics, spacing and fonts of LaTeX around and inside.
string bare(string_view given) {
  string text(base::trim(given));
  for (const auto& [from, to] :
       std::initializer_list<std::pair<const char*, const char*>>{{"\\left", ""},
                                                                  {"\\right", ""},
                                                                  {"\\displaystyle", ""},
                                                                  {"\\dfrac", "\\frac"},
                                                                  {"\\tfrac", "\\frac"},
                                                                  {"\\cfrac", "\\frac"},
                                                                  {"\\!", ""},
                                                                  {"\\,", " "},
                                                                  {"\\;", " "},
                                                                  {"\\:", " "},
                                                                  {"\\ ", " "},
                                                                  {"~", " "},
                                                                  {"{,}", ","},
                                                                  {"\u2212", "-"},
                                                                  {"\u00d7", "\\times"},
                                                                  {"\\%", "%"},
                                                                  {"^{\\circ}", "\u00b0"},
                                                                  {"^\\circ", "\u00b0"},
                                                                  {"\\(", ""},
                                                                  {"\\)", ""},
                                                                  {"\\[", ""},
                                                                  {"\\]", ""},
                                                                  {"**", ""}}) {
    replace_all(text, from, to);
  }
  for (const char* font : {"\\text", "\\textbf", "\\mathrm", "\\mathbf", "\\mbox", "\\textit"}) {
    const string begin = string(font) + "{";
    for (size_t at; (at = text.find(begin)) != string::npos;) {
      const size_t end = closing(text, at + begin.size() - 1);
      if (end == string::npos) break;
      text.replace(at, end - at,
                   " " + text.substr(at + begin.size(), end - at - begin.size() - 1) + " ");
    }
  }
  replace_all(text, "\\$", "$");
  replace_all(text, " ^", "^");  // \text{ m}^2
  // x = 5 and = 5 are 5.
  if (const size_t equals = text.find('='); equals != string::npos) {
    const string_view left = base::trim(string_view(text).substr(0, equals));
    if (left.empty() || (left.size() == 1 && is_letter(left[0]))) text.erase(0, equals + 1);
  }
  string result(base::trim(text));
  while (result.size() > 1 && result.back() == '.') result.pop_back();
  return result;
}

/// A fraction in lowest terms; numbers that do not fit are compared as texts.
struct Rational {
  __int128 above = 0;
  __int128 below = 1;
  bool operator==(const Rational&) const = default;
};

constexpr int kMostDigits = 36;  // below 2^127

__int128 greatest_divisor(__int128 a, __int128 b) {
  while (b != 0) a = std::exchange(b, a % b);
  return a < 0 ? -a : a;
}

std::optional<Rational> ratio(__int128 above, __int128 below) {
  if (below == 0) return std::nullopt;
  if (below < 0) {
    above = -above;
    below = -below;
  }
  const __int128 divisor = greatest_divisor(above, below);
  return Rational{above / divisor, below / divisor};
}

std::optional<Rational> product(const Rational& a, const Rational& b) {
  __int128 above = 0, below = 0;
  if (__builtin_mul_overflow(a.above, b.above, &above) ||
      __builtin_mul_overflow(a.below, b.below, &below)) {
    return std::nullopt;
  }
  return ratio(above, below);
}

std::optional<Rational> sum(const Rational& a, const Rational& b) {
  __int128 x = 0, y = 0, above = 0, below = 0;
  if (__builtin_mul_overflow(a.above, b.below, &x) ||
      __builtin_mul_overflow(b.above, a.below, &y) || __builtin_add_overflow(x, y, &above) ||
      __builtin_mul_overflow(a.below, b.below, &below)) {
    return std::nullopt;
  }
  return ratio(above, below);
}

std::optional<Rational> power_of_ten(int64_t exponent) {
  if (exponent < -kMostDigits || exponent > kMostDigits) return std::nullopt;
  __int128 power = 1;
  for (int64_t i = 0; i < std::abs(exponent); ++i) power *= 10;
  return exponent < 0 ? Rational{1, power} : Rational{power, 1};
}

/// Commas may part the digits before the point in threes.
bool has_bad_commas(string_view digits) {
  const size_t point = std::min(digits.find('.'), digits.size());
  if (digits.substr(point).find(',') != digits.npos) return true;
  size_t since = 0, n_commas = 0;
  for (size_t i = point; i-- > 0;) {
    if (digits[i] == ',') {
      if (since != 3) return true;
      since = 0;
      ++n_commas;
    } else {
      ++since;
    }
  }
  return n_commas > 0 && (since == 0 || since > 3);
}

/// Digits with commas, a point and an exponent; no sign.
std::optional<Rational> decimal(string_view text) {
  int64_t exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != text.npos) {
    string_view digits = text.substr(e + 1);
    const bool is_negative = digits.starts_with('-');
    if (is_negative || digits.starts_with('+')) digits.remove_prefix(1);
    if (digits.empty() || digits.size() > 3 ||
        !std::all_of(digits.begin(), digits.end(), is_digit)) {
      return std::nullopt;
    }
    exponent = std::stoll(string(digits)) * (is_negative ? -1 : 1);
    text = text.substr(0, e);
  }
  if (text.find_first_of("0123456789") == text.npos || has_bad_commas(text)) return std::nullopt;
  __int128 value = 0;
  bool is_behind_point = false;
  int n_digits = 0;
  for (const char c : text) {
    if (c == ',') continue;
    if (c == '.') {
      if (std::exchange(is_behind_point, true)) return std::nullopt;
      continue;
    }
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + (c - '0');
    n_digits += value > 0 ? 1 : 0;
    if (n_digits > kMostDigits) return std::nullopt;
    exponent -= is_behind_point ? 1 : 0;
  }
  const auto power = power_of_ten(exponent);
  return power ? product({value, 1}, *power) : std::nullopt;
}

std::optional<Rational> number(string_view text);

/// Behind \frac: {3}{4}, 34, {3}4.
std::optional<Rational> fraction_of_latex(string_view text) {
  std::array<string_view, 2> parts;
  for (string_view& part : parts) {
    text = base::trim(text);
    if (text.empty()) return std::nullopt;
    const size_t end = text[0] == '{' ? closing(text, 0) : 1;
    if (end == text.npos) return std::nullopt;
    part = text[0] == '{' ? text.substr(1, end - 2) : text.substr(0, 1);
    text = text.substr(end);
  }
  const auto above = number(parts[0]), below = number(parts[1]);
  if (!base::trim(text).empty() || !above || !below || below->above == 0) return std::nullopt;
  return product(*above, {below->below, below->above});
}

/// 10^6, 2^{10}, 10^-3.
std::optional<Rational> power(string_view text, size_t caret) {
  const auto base = decimal(base::trim(text.substr(0, caret)));
  string_view exponent_text = base::trim(text.substr(caret + 1));
  if (exponent_text.starts_with('{') && exponent_text.ends_with('}')) {
    exponent_text = exponent_text.substr(1, exponent_text.size() - 2);
  }
  const auto exponent = number(exponent_text);
  constexpr int kMostFactors = 126;  // of 2, below 2^127
  if (!base || !exponent || exponent->below != 1 || exponent->above > kMostFactors ||
      exponent->above < -kMostFactors) {
    return std::nullopt;
  }
  const bool is_below = exponent->above < 0;
  if (is_below && base->above == 0) return std::nullopt;
  const Rational factor = is_below ? Rational{base->below, base->above} : *base;
  std::optional<Rational> result = Rational{1, 1};
  for (__int128 i = is_below ? -exponent->above : exponent->above; i > 0 && result; --i) {
    result = product(*result, factor);
  }
  return result;
}

std::optional<Rational> unsigned_number(string_view text) {
  if (const size_t at = text.find("\\frac"); at != text.npos) {
    const auto fraction = fraction_of_latex(text.substr(at + 5));
    const string_view whole = base::trim(text.substr(0, at));
    if (whole.empty() || !fraction) return fraction;
    const auto before = decimal(whole);
    return before ? sum(*before, *fraction) : std::nullopt;
  }
  for (const char* times : {"\\times", "\\cdot", "*"}) {
    const size_t at = text.find(times);
    if (at == text.npos) continue;
    string ten = without_blanks(text.substr(at + string_view(times).size()));
    if (!ten.starts_with("10^")) return std::nullopt;
    ten = ten.substr(3);
    if (ten.size() > 2 && ten.front() == '{' && ten.back() == '}')
      ten = ten.substr(1, ten.size() - 2);
    return decimal(base::concat(base::trim(text.substr(0, at)), "e", ten));
  }
  if (const size_t slash = text.find('/'); slash != text.npos) {
    string_view above_text = base::trim(text.substr(0, slash));
    std::optional<Rational> whole = Rational{};
    if (const size_t blank = above_text.find(' '); blank != above_text.npos) {  // 2 1/2
      whole = decimal(above_text.substr(0, blank));
      above_text = base::trim(above_text.substr(blank));
    }
    const auto above = number(above_text), below = number(text.substr(slash + 1));
    if (!whole || !above || !below || below->above == 0) return std::nullopt;
    const auto fraction = product(*above, {below->below, below->above});
    return fraction ? sum(*whole, *fraction) : std::nullopt;
  }
  if (const size_t caret = text.find('^'); caret != text.npos) return power(text, caret);
  return decimal(text);
}

std::optional<Rational> number(string_view text) {
  text = base::trim(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text = base::trim(text.substr(1));
  auto value = unsigned_number(text);
  // The sign of a fraction in LaTeX may stand inside of it: ratio() has seen to that.
  if (value && is_negative) value->above = -value->above;
  return value;
}

/// A number and what it is of.
struct Quantity {
  Rational value;
  bool is_percent = false;
  string unit = {};
};

/// The unit that a word is: of a number, `5 cm` and `5 marbles` alike.
bool is_unit(string_view words) {
  const string text = lowered(words);
  const std::vector<string> parts = base::split(text, ' ');
  return parts.size() <= 4 && std::all_of(parts.begin(), parts.end(), [](const string& part) {
           const string name = part.substr(0, part.find('^'));
           if (is_multiple(name)) return false;
           return known_unit(name) ||
                  (name.size() >= 4 && std::all_of(name.begin(), name.end(), is_letter));
         });
}

/// One name for `minutes` and `min`, for `square feet` and `ft^2`, for `miles per hour` and `mph`.
string unit_name(string_view words) {
  string result, power;
  for (const string& part : base::split(lowered(words), ' ')) {
    const size_t caret = std::min(part.find('^'), part.size());
    const string name = part.substr(0, caret);
    const auto known = known_unit(name);
    if (known == "per") {
      result += '/';
    } else if (known == "square") {
      power = "^2";
    } else if (known == "cubic") {
      power = "^3";
    } else {
      result += known ? string(*known) : singular(name);
      result += part.substr(caret) + std::exchange(power, "");
    }
  }
  return result;
}

std::optional<Quantity> quantity(string text) {
  string unit;
  const size_t money = text.find('$');
  if (money != string::npos) {
    text.erase(std::remove(text.begin(), text.end(), '$'), text.end());
    if (is_digit(text.empty() ? 'x' : text.back()) && money <= 1) unit = "dollar";
  }
  replace_all(text, "\u00b0", " degrees");
  string_view rest = base::trim(text);
  bool is_percent = false;
  if (rest.ends_with('%')) {
    is_percent = true;
    rest = base::trim(rest.substr(0, rest.size() - 1));
  } else if (const size_t end = rest.find_last_of("0123456789}"); end != rest.npos) {
    size_t begin = end + 1;
    if (const size_t caret = rest.rfind('^'); caret != rest.npos && caret > 0 &&
                                              rest.find("10^") == rest.npos &&
                                              is_letter(rest[caret - 1])) {  // cm^2
      begin = rest.find_last_of("0123456789} ", caret - 1);
      begin = begin == rest.npos ? 0 : begin + 1;
    }
    const string_view word = base::trim(rest.substr(begin));
    if (!word.empty()) {
      if (!is_unit(word)) return std::nullopt;
      is_percent = lowered(word) == "percent";
      unit = unit_name(word);
      rest = base::trim(rest.substr(0, begin));
    }
  }
  const auto value = number(rest);
  if (!value) return std::nullopt;
  return Quantity{*value, is_percent, is_percent ? "" : unit};
}

bool is_same(const Quantity& a, const Quantity& b) {
  if (a.value == b.value) return true;
  if (a.is_percent == b.is_percent) return false;
  const Quantity& percent = a.is_percent ? a : b;
  return product(percent.value, {1, 100}) == (a.is_percent ? b : a).value;
}

/// The upper-case letter of a choice.
std::optional<char> choice_letter(char c) {
  const char letter = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return letter >= 'A' && letter <= 'J' ? std::optional(letter) : std::nullopt;
}

/// Whether a letter of a choice stands by itself: in `, C` and `and C`, not in `x = a dog`.
bool names_choice(string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto letter = choice_letter(text[i]);
    if (!letter) continue;
    if (i > 0 && (is_letter(text[i - 1]) || text[i - 1] == '\\')) continue;
    const string_view rest = text.substr(i + 1);
    if (!rest.empty() && (is_letter(rest[0]) || rest[0] == '\'')) continue;
    const bool begins_words = rest.size() > 1 && rest[0] == ' ' && is_letter(rest[1]);
    if (begins_words && (letter == 'A' || text[i] == 'I')) continue;  // article, pronoun
    const string_view before = base::trim(text.substr(0, i));
    const bool is_listed =
        before.empty() || string_view(",;/&(").find(before.back()) != string_view::npos;
    const bool is_behind_word = !before.empty() && (is_letter(before.back()) ||
                                                    (before.back() >= '0' && before.back() <= '9'));
    const bool is_joined =
        before.ends_with(" and") || before.ends_with(" or") || before == "and" || before == "or";
    if (is_behind_word && !is_joined) continue;
    if (text[i] == letter || is_listed) return true;
  }
  return false;
}

/// `B` of B, (B), B. and `B) because`; of `B, C` none.
std::optional<char> choice(string_view text) {
  text = base::trim(text);
  const bool has_bracket = text.starts_with('(');
  if (has_bracket) text = base::trim(text.substr(1));
  if (text.empty()) return std::nullopt;
  const auto letter = choice_letter(text[0]);
  if (!letter) return std::nullopt;
  const string_view rest = base::trim(text.substr(1));
  if (!rest.empty() && string_view(").:,").find(rest[0]) == string_view::npos) return std::nullopt;
  if (!rest.empty() && names_choice(rest.substr(rest[0] == ')' || rest[0] == '.' ? 1 : 0))) {
    return std::nullopt;
  }
  return letter;
}

bool is_word(string_view text) {
  return text.size() > 1 && std::all_of(text.begin(), text.end(), is_letter);
}

bool is_choice(string_view text) {
  const auto letter = choice(text);
  return letter && without_blanks(text).find_first_not_of(string("().:") + *letter +
                                                          lower(*letter)) == string::npos;
}

}  // namespace

namespace {

/// Whether two words of two letters or more stand side by side: prose.
bool has_prose(string_view line) {
  size_t n_letters = 0, n_words = 0;
  for (const char c : string(line) + ' ') {
    if (is_letter(c)) {
      ++n_letters;
      continue;
    }
    n_words = n_letters >= 2 && (c == ' ' || n_words > 0) ? n_words + 1 : 0;
    if (n_words >= 2) return true;
    n_letters = 0;
  }
  return false;
}

/// What was computed at the end of a short line (5 * 3 = 15), or the line.
string_view computed(string_view line) {
  const size_t equals = line.rfind('=');
  if (equals == line.npos) return line;
  const string_view left = line.substr(0, equals);
  const bool is_arithmetic = std::none_of(left.begin(), left.end(), is_letter) &&
                             left.find_first_of("0123456789") != left.npos;
  return is_arithmetic ? line.substr(equals + 1) : line;
}

/// The last $...$ of a line.
std::optional<string_view> last_formula(string_view line) {
  const size_t end = line.rfind('$');
  if (end == line.npos || end == 0) return std::nullopt;
  const size_t begin = line.rfind('$', end - 1);
  if (begin == line.npos || end - begin < 2) return std::nullopt;
  const string_view formula = line.substr(begin + 1, end - begin - 1);
  if (formula.front() == ' ' || formula.back() == ' ') return std::nullopt;  // $5 or $6
  return formula;
}

/// Of a text that does not say what its answer is.
string_view plain_answer(string_view text) {
  constexpr size_t kShort = 60;
  text = base::trim(text);
  const size_t line_end = text.rfind('\n');
  const string_view line = base::trim(line_end == text.npos ? text : text.substr(line_end));
  if (line.size() <= kShort && !has_prose(line)) return computed(line);
  if (const auto formula = last_formula(line)) return *formula;
  if (const auto number = last_number(text)) return *number;
  return text.size() <= kShort ? text : string_view();
}

}  // namespace

std::optional<string> final_answer(string_view text) {
  const std::optional<Found> box = last_box(text);
  const size_t mark = text.rfind("####");
  string_view answer;
  if (box && (mark == text.npos || box->at > mark)) {
    answer = box->text;
  } else if (mark != text.npos) {
    const string_view rest = base::trim(text.substr(mark + 4));
    answer = rest.substr(0, rest.find('\n'));
  } else if (const auto said = phrase(text)) {
    answer = *said;
  } else {
    answer = plain_answer(text);
  }
  answer = base::trim(answer);
  if (answer.empty()) return std::nullopt;
  return string(answer);
}

bool are_equal_answers(string_view given_text, string_view wanted_text) {
  const string given = bare(given_text), wanted = bare(wanted_text);
  if (given.empty() || wanted.empty()) return false;
  if (is_choice(wanted)) return choice(given) == choice(wanted);
  const auto a = quantity(given), b = quantity(wanted);
  if (a && b) {
    const bool are_of_two_kinds = !a->unit.empty() && !b->unit.empty() && a->unit != b->unit;
    return !are_of_two_kinds && is_same(*a, *b);
  }
  string x = without_blanks(given), y = without_blanks(wanted);
  for (string* text : {&x, &y})
    text->erase(std::remove(text->begin(), text->end(), '$'), text->end());
  return x == y || (is_word(x) && lowered(x) == lowered(y));
}

}  // namespace orrery::algorithm
