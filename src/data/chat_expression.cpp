#include "chat_expression.h"

#include <algorithm>  // find
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::data {

namespace {

using base::concat;
using Value = nlohmann::json;

[[noreturn]] void refuse(const std::string& what) { throw ChatTemplateError(what); }

bool is_undefined(const Value& value) { return value.is_discarded(); }

/// What Jinja and transformers give every template.
bool is_function(const std::string& name) {
  static const std::set<std::string> names = {"raise_exception", "strftime_now", "namespace",
                                              "range",           "dict",         "cycler"};
  return names.contains(name);
}

struct Token {
  enum class Kind { kName, kText, kNumber, kSign, kEnd };
  Kind kind = Kind::kEnd;
  std::string text = {};

  bool is(std::string_view wanted) const {
    return text == wanted && (kind == Kind::kSign || kind == Kind::kName);
  }
};

bool is_part_of_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::vector<Token> tokens_of(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kLongSigns = {"==", "!=", "<=", ">=", "//"};
  std::vector<Token> tokens;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      ++at;
    } else if (c == '\'' || c == '"') {
      Token token{.kind = Token::Kind::kText};
      for (++at; at < text.size() && text[at] != c; ++at) {
        if (text[at] != '\\' || at + 1 == text.size()) {
          token.text += text[at];
          continue;
        }
        const char escaped = text[++at];
        static constexpr std::string_view kNames = "nrt\\'\"", kMeanings = "\n\r\t\\'\"";
        const size_t which = kNames.find(escaped);
        if (which == std::string_view::npos) refuse(concat("the escape \\", escaped));
        token.text += kMeanings[which];
      }
      if (at == text.size()) refuse("a text without an end");
      ++at;
      tokens.push_back(std::move(token));
    } else if (is_part_of_name(c)) {
      const size_t first = at;
      while (at < text.size() && is_part_of_name(text[at])) ++at;
      const bool is_number = std::isdigit(static_cast<unsigned char>(c)) != 0;
      tokens.push_back({.kind = is_number ? Token::Kind::kNumber : Token::Kind::kName,
                        .text = std::string(text.substr(first, at - first))});
    } else {
      const std::string_view two = text.substr(at, 2);
      const bool is_long = std::find(kLongSigns.begin(), kLongSigns.end(), two) != kLongSigns.end();
      tokens.push_back(
          {.kind = Token::Kind::kSign, .text = std::string(text.substr(at, is_long ? 2 : 1))});
      at += is_long ? 2 : 1;
    }
  }
  tokens.push_back({});
  return tokens;
}

Value trimmed(const Value& value) {
  if (!value.is_string()) refuse("trim of something that is no text");
  return std::string(base::trim(value.get<std::string>()));
}

Value length_of(const Value& value) {
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  }
  if (value.is_array() || value.is_object()) return static_cast<int64_t>(value.size());
  refuse("the length of something that has none");
}

int64_t number_in(const Value& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (!value.is_number_integer()) refuse("arithmetic with something that is no whole number");
  return value.get<int64_t>();
}

bool are_equal(const Value& a, const Value& b) {
  if (is_undefined(a) || is_undefined(b)) return is_undefined(a) && is_undefined(b);
  if (a.is_boolean() != b.is_boolean() && (a.is_number() || b.is_number())) {
    return number_in(a) == number_in(b);
  }
  return a == b;
}

bool contains(const Value& all, const Value& one) {
  if (all.is_string()) {
    if (!one.is_string()) refuse("`in` a text, of something that is no text");
    return all.get<std::string>().find(one.get<std::string>()) != std::string::npos;
  }
  if (all.is_object()) return one.is_string() && all.contains(one.get<std::string>());
  if (all.is_array()) {
    return std::any_of(all.begin(), all.end(), [&](const Value& x) { return are_equal(x, one); });
  }
  refuse("`in` something that holds nothing");
}

Value sum_of(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return a.get<std::string>() + b.get<std::string>();
  if (a.is_array() && b.is_array()) {
    Value all = a;
    all.insert(all.end(), b.begin(), b.end());
    return all;
  }
  if (is_undefined(a) || is_undefined(b)) refuse("`+` with a field that the message has not");
  if (a.is_string() || b.is_string()) refuse("`+` of a text and something else");
  return number_in(a) + number_in(b);
}

/// Python's: of the divisor's sign.
int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) refuse("division by 0");
  return (a % b + b) % b;
}

Value field_of(const Value& value, const Value& key) {
  if (is_undefined(value)) refuse(concat("a field of something that is not there"));
  if (value.is_object() && key.is_string()) {
    const auto found = value.find(key.get<std::string>());
    return found == value.end() ? undefined_value() : *found;
  }
  if ((value.is_array() || value.is_string()) && key.is_number_integer()) {
    if (value.is_string()) refuse("a single character of a text");
    auto at = key.get<int64_t>();
    if (at < 0) at += static_cast<int64_t>(value.size());
    if (at < 0 || at >= static_cast<int64_t>(value.size())) return undefined_value();
    return value[base::index(at)];
  }
  return undefined_value();
}

Value slice_of(const Value& value, const std::optional<Value>& first,
               const std::optional<Value>& end) {
  if (!value.is_array()) refuse("a part of something that is no list");
  const auto n = static_cast<int64_t>(value.size());
  const auto place = [&](const std::optional<Value>& at, int64_t otherwise) {
    if (!at) return otherwise;
    const int64_t number = number_in(*at);
    return std::clamp<int64_t>(number < 0 ? number + n : number, 0, n);
  };
  Value part = Value::array();
  for (int64_t i = place(first, 0); i < place(end, n); ++i) part.push_back(value[base::index(i)]);
  return part;
}

Value method_of(const Value& of, const std::string& name, const std::vector<Value>& arguments) {
  if (of.is_object() && name == "get" && !arguments.empty()) {
    const Value found = field_of(of, arguments[0]);
    if (!is_undefined(found)) return found;
    return arguments.size() > 1 ? arguments[1] : Value();
  }
  const bool is_text = of.is_string() && std::all_of(arguments.begin(), arguments.end(),
                                                     [](const Value& a) { return a.is_string(); });
  if (is_text && arguments.empty()) {
    const auto text = of.get<std::string>();
    if (name == "strip") return trimmed(of);
    if (name == "lstrip")
      return text.substr(std::min(text.find_first_not_of(" \t\n\r"), text.size()));
    if (name == "rstrip") return text.substr(0, text.find_last_not_of(" \t\n\r") + 1);
  }
  if (is_text && arguments.size() == 1) {
    const auto text = of.get<std::string>(), other = arguments[0].get<std::string>();
    if (name == "startswith") return text.starts_with(other);
    if (name == "endswith") return text.ends_with(other);
  }
  refuse(concat("the method ", name, "()"));
}

Value filtered(const Value& value, const std::string& name, const std::vector<Value>& arguments) {
  if (name == "trim" && arguments.empty()) return trimmed(value);
  if ((name == "length" || name == "count") && arguments.empty()) return length_of(value);
  if (name == "string" && arguments.empty()) return printed(value);
  if (name == "first" && arguments.empty()) return field_of(value, 0);
  if (name == "last" && arguments.empty()) return field_of(value, -1);
  if ((name == "default" || name == "d") && arguments.size() == 1) {
    return is_undefined(value) ? arguments[0] : value;
  }
  refuse(concat("the filter ", name));
}

bool passes(const Value& value, const std::string& test) {
  if (test == "defined") return !is_undefined(value);
  if (test == "undefined") return is_undefined(value);
  if (test == "none") return value.is_null();
  if (test == "string") return value.is_string();
  if (test == "mapping") return value.is_object();
  if (test == "sequence" || test == "iterable") {
    return value.is_array() || value.is_string() || value.is_object();
  }
  if (test == "number") return value.is_number() || value.is_boolean();
  if (test == "boolean") return value.is_boolean();
  if (test == "true") return value.is_boolean() && value.get<bool>();
  if (test == "false") return value.is_boolean() && !value.get<bool>();
  refuse(concat("the test `is ", test, "`"));
}

Value call(const std::string& name, const std::vector<Value>& arguments) {
  if (name == "raise_exception" && arguments.size() == 1) refuse(printed(arguments[0]));
  refuse(concat("the function ", name, "()"));
}

int64_t number_of(const std::string& text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [behind, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || behind != end) refuse(concat("the number ", text));
  return number;
}

/// One function for each level of precedence, the loosest first; each makes what is evaluated.
class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokens_of(text)) {}

  ChatExpression all() {
    ChatExpression expression = choice();
    if (now().kind != Token::Kind::kEnd) refuse(concat("`", now().text, "` here"));
    return expression;
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  bool take(std::string_view wanted) {
    if (!now().is(wanted)) return false;
    ++at_;
    return true;
  }
  void want(std::string_view wanted) {
    if (!take(wanted)) refuse(concat("`", now().text, "` where `", wanted, "` was expected"));
  }
  std::string want_name() {
    if (now().kind != Token::Kind::kName)
      refuse(concat("`", now().text, "` where a name was expected"));
    return tokens_[at_++].text;
  }

  ChatExpression choice() {
    ChatExpression value = either();
    if (!take("if")) return value;
    ChatExpression condition = either();
    ChatExpression otherwise = [](const ChatScope&) { return undefined_value(); };
    if (take("else")) otherwise = choice();
    return [value, condition, otherwise](const ChatScope& scope) {
      return is_true(condition(scope)) ? value(scope) : otherwise(scope);
    };
  }

  ChatExpression either() {
    ChatExpression a = both();
    while (take("or")) {
      a = [a, b = both()](const ChatScope& scope) {
        Value value = a(scope);
        return is_true(value) ? value : b(scope);
      };
    }
    return a;
  }

  ChatExpression both() {
    ChatExpression a = negation();
    while (take("and")) {
      a = [a, b = negation()](const ChatScope& scope) {
        Value value = a(scope);
        return is_true(value) ? b(scope) : value;
      };
    }
    return a;
  }

  ChatExpression negation() {
    if (!take("not")) return comparison();
    return [a = negation()](const ChatScope& scope) { return Value(!is_true(a(scope))); };
  }

  ChatExpression comparison() {
    ChatExpression a = sum();
    for (;;) {
      if (take("==")) {
        a = [a, b = sum()](const ChatScope& s) { return Value(are_equal(a(s), b(s))); };
      } else if (take("!=")) {
        a = [a, b = sum()](const ChatScope& s) { return Value(!are_equal(a(s), b(s))); };
      } else if (now().is("<") || now().is(">") || now().is("<=") || now().is(">=")) {
        const std::string sign = tokens_[at_++].text;
        a = [a, sign, b = sum()](const ChatScope& s) {
          const int64_t left = number_in(a(s)), right = number_in(b(s));
          if (sign.size() == 2 && left == right) return Value(true);
          return Value(sign[0] == '<' ? left < right : left > right);
        };
      } else if (take("in")) {
        a = [a, b = sum()](const ChatScope& s) { return Value(contains(b(s), a(s))); };
      } else if (now().is("not") && tokens_[at_ + 1].is("in")) {
        at_ += 2;
        a = [a, b = sum()](const ChatScope& s) { return Value(!contains(b(s), a(s))); };
      } else if (take("is")) {
        const bool is_negated = take("not");
        a = [a, is_negated, test = want_name()](const ChatScope& s) {
          return Value(passes(a(s), test) != is_negated);
        };
      } else {
        return a;
      }
    }
  }

  ChatExpression sum() {
    ChatExpression a = joined();
    for (;;) {
      if (take("+")) {
        a = [a, b = joined()](const ChatScope& s) { return sum_of(a(s), b(s)); };
      } else if (take("-")) {
        a = [a, b = joined()](const ChatScope& s) {
          return Value(number_in(a(s)) - number_in(b(s)));
        };
      } else {
        return a;
      }
    }
  }

  ChatExpression joined() {
    ChatExpression a = remainder();
    while (take("~")) {
      a = [a, b = remainder()](const ChatScope& s) { return Value(printed(a(s)) + printed(b(s))); };
    }
    return a;
  }

  ChatExpression remainder() {
    ChatExpression a = signed_value();
    while (take("%")) {
      a = [a, b = signed_value()](const ChatScope& s) {
        return Value(modulo(number_in(a(s)), number_in(b(s))));
      };
    }
    return a;
  }

  ChatExpression signed_value() {
    if (!take("-")) return with_filters();
    return [a = with_filters()](const ChatScope& s) { return Value(-number_in(a(s))); };
  }

  ChatExpression with_filters() {
    ChatExpression a = part();
    while (take("|")) {
      const std::string name = want_name();
      const std::vector<ChatExpression> arguments =
          now().is("(") ? these_arguments() : std::vector<ChatExpression>{};
      a = [a, name, arguments](const ChatScope& s) {
        return filtered(a(s), name, values(arguments, s));
      };
    }
    return a;
  }

  ChatExpression part() {
    ChatExpression a = atom();
    for (;;) {
      if (take(".")) {
        const std::string name = want_name();
        if (now().is("(")) {
          a = [a, name, arguments = these_arguments()](const ChatScope& s) {
            return method_of(a(s), name, values(arguments, s));
          };
        } else {
          a = [a, name](const ChatScope& s) { return field_of(a(s), name); };
        }
      } else if (take("[")) {
        a = indexed(std::move(a));
      } else {
        return a;
      }
    }
  }

  ChatExpression indexed(ChatExpression a) {
    std::optional<ChatExpression> first, end;
    if (!now().is(":")) first = choice();
    if (!take(":")) {
      want("]");
      return [a, at = *first](const ChatScope& s) { return field_of(a(s), at(s)); };
    }
    if (!now().is("]")) end = choice();
    want("]");
    return [a, first, end](const ChatScope& s) {
      const auto value = [&](const std::optional<ChatExpression>& of) {
        return of ? std::optional<Value>((*of)(s)) : std::nullopt;
      };
      return slice_of(a(s), value(first), value(end));
    };
  }

  ChatExpression atom() {
    if (take("(")) {
      ChatExpression inside = choice();
      want(")");
      return inside;
    }
    if (take("[")) {
      std::vector<ChatExpression> parts;
      while (!take("]")) {
        parts.push_back(choice());
        if (!now().is("]")) want(",");
      }
      return [parts](const ChatScope& s) { return Value(values(parts, s)); };
    }
    const Token token = tokens_[at_];
    if (token.kind == Token::Kind::kEnd || token.kind == Token::Kind::kSign) {
      refuse(concat("`", token.text, "` here"));
    }
    ++at_;
    if (token.kind == Token::Kind::kText) return constant(token.text);
    if (token.kind == Token::Kind::kNumber) return constant(number_of(token.text));
    if (token.text == "true" || token.text == "True") return constant(true);
    if (token.text == "false" || token.text == "False") return constant(false);
    if (token.text == "none" || token.text == "None") return constant(nullptr);
    if (now().is("(")) {
      return [name = token.text, arguments = these_arguments()](const ChatScope& s) {
        return call(name, values(arguments, s));
      };
    }
    return [name = token.text](const ChatScope& s) {
      Value value = s.find(name);
      return is_undefined(value) && is_function(name) ? Value::object() : value;
    };
  }

  std::vector<ChatExpression> these_arguments() {
    want("(");
    std::vector<ChatExpression> arguments;
    while (!take(")")) {
      arguments.push_back(choice());
      if (!now().is(")")) want(",");
    }
    return arguments;
  }

  static ChatExpression constant(Value value) {
    return [value](const ChatScope&) { return value; };
  }
  static std::vector<Value> values(const std::vector<ChatExpression>& of, const ChatScope& scope) {
    std::vector<Value> result;
    for (const ChatExpression& one : of) result.push_back(one(scope));
    return result;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace

nlohmann::json ChatScope::find(const std::string& name) const {
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    if (const auto found = block->find(name); found != block->end()) return found->second;
  }
  return undefined_value();
}

bool is_true(const nlohmann::json& value) {
  if (value.is_discarded() || value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  if (value.is_string()) return !value.get<std::string>().empty();
  return !value.empty();
}

std::string printed(const nlohmann::json& value) {
  if (value.is_discarded()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_number_integer()) return value.dump();
  refuse("a number with a point, a list or an object as text");
}

ChatExpression parse_chat_expression(std::string_view text) {
  try {
    return Parser(text).all();
  } catch (const ChatTemplateError& problem) {
    return
        [what = std::string(problem.what())](const ChatScope&) -> nlohmann::json { refuse(what); };
  }
}

}  // namespace orrery::data
