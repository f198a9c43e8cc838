#include "orrery/config/field.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "orrery/base/text.h"

namespace orrery::config {

namespace {

std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return {text, end};
}

Check number_check(std::string text, std::function<bool(double)> allowed) {
  return {.text = text,
          .problem = [text, allowed](const std::string& value) -> std::optional<std::string> {
            double number = 0;
            if (const auto problem = read_value(value, number)) return problem;
            if (allowed(number)) return std::nullopt;
            return base::concat("must be ", text, ", got ", value);
          }};
}

template <class T>
std::optional<std::string> read_number(std::string_view text, T& value, const char* what) {
  T parsed{};
  const bool has_plus = text.size() > 1 && text[0] == '+' && text[1] != '-';
  const std::string_view digits = has_plus ? text.substr(1) : text;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), parsed);
  if (error == std::errc::result_out_of_range) {
    return base::concat("'", text, "' is too large or too small for ", what);
  }
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return base::concat("'", text, "' is not ", what);
  }
  value = parsed;
  return std::nullopt;
}

}  // namespace

Check anything() { return {}; }

Check any_natural() {
  Check check = at_least(0);
  check.takes_any_size = true;
  return check;
}

std::optional<std::string> size_problem(std::string_view, int64_t value) {
  constexpr int64_t kMost = 1'000'000'000;
  if (value <= kMost) return std::nullopt;
  return base::concat("must be at most ", kMost, ", got ", value);
}

std::optional<std::string> size_problem(std::string_view name, double value) {
  constexpr double kMostSeconds = 1e9;  // 31 years
  if (!name.ends_with("seconds") || value <= kMostSeconds) return std::nullopt;
  return base::concat("must be at most ", number_text(kMostSeconds), " seconds, got ",
                      number_text(value));
}

const KeyBinding* find_binding(const std::vector<KeyBinding>& bindings,
                               std::string_view interface_key) {
  const auto found = std::find_if(bindings.begin(), bindings.end(), [&](const KeyBinding& binding) {
    return binding.interface_key == interface_key;
  });
  return found == bindings.end() ? nullptr : &*found;
}

Check in_range(double low, double high) {
  return number_check(base::concat(number_text(low), " to ", number_text(high)),
                      [=](double x) { return x >= low && x <= high; });
}

Check zero_or_in_range(double low, double high) {
  return number_check(base::concat("0 or ", number_text(low), " to ", number_text(high)),
                      [=](double x) { return x == 0 || (x >= low && x <= high); });
}

Check at_least(double low) {
  return number_check(base::concat("at least ", number_text(low)),
                      [=](double x) { return x >= low; });
}

Check above(double low) {
  return number_check(base::concat("above ", number_text(low)), [=](double x) { return x > low; });
}

Check one_of(std::vector<std::string> choices) {
  const std::string list = base::join(choices, ", ");
  return {.text = "one of " + list,
          .problem = [choices, list](const std::string& value) -> std::optional<std::string> {
            if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
            std::string text = base::concat("must be one of ", list, ", got '", value, "'");
            if (const auto meant = base::nearest(value, choices))
              text += "; did you mean " + *meant + "?";
            return text;
          }};
}

Check count_or(std::vector<std::string> words) {
  const std::string list = base::join(words, ", ");
  const std::string allowed = base::concat("a number from 0 on, or one of ", list);
  return {.text = allowed,
          .problem = [words, allowed](const std::string& value) -> std::optional<std::string> {
            if (std::find(words.begin(), words.end(), value) != words.end()) return {};
            int64_t number = 0;
            const bool is_number = !read_value(value, number).has_value();
            if (is_number && number >= 0) return size_problem("", number);
            return base::concat("must be ", allowed, ", got '", value, "'");
          }};
}

Check folder_name() {
  return {.text = "the name of a folder",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            if (value.empty()) return "must not be empty";
            if (value == "." || value == ".." || value.find('/') != std::string::npos) {
              return base::concat("must be a plain name without '/', got '", value, "'");
            }
            const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
            if (std::any_of(value.begin(), value.end(), is_control)) {
              return "must not contain control characters";
            }
            return std::nullopt;
          }};
}

Check escaped_text() {
  return {.text = "text; \\n, \\r, \\t and \\\\ stand for line ends, tab and \\",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            for (size_t i = 0; i < value.size(); ++i) {
              if (value[i] != '\\') continue;
              if (++i == value.size()) return "ends in a single \\; write \\\\ for one";
              if (std::string_view("nrt\\").find(value[i]) == std::string_view::npos) {
                return base::concat("has \\", value[i],
                                    ", which stands for nothing; there are \\n, \\r, \\t and \\\\");
              }
            }
            return std::nullopt;
          }};
}

std::string unescaped(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      result += text[i];
      continue;
    }
    const char c = text[++i];
    result += c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
  }
  return result;
}

Check Check::on_resume(Resume meaning) const {
  Check check = *this;
  check.resume = meaning;
  return check;
}

bool Check::is_path(const std::string& value) const {
  return is_input_path && !value.empty() &&
         std::find(words.begin(), words.end(), value) == words.end();
}

Check input_path() { return {.text = "a path", .problem = {}, .is_input_path = true}; }

Check python_function() {
  return {.text = "FILE.py:NAME",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            const size_t colon = value.rfind(':');
            const size_t suffix =
                colon == std::string::npos ? colon : colon - std::min<size_t>(colon, 3);
            if (value.empty() || (colon != std::string::npos && colon + 1 < value.size() &&
                                  value.compare(suffix, 3, ".py") == 0)) {
              return std::nullopt;
            }
            return base::concat("must be FILE.py:NAME, a file and a function in it, got '", value,
                                "'");
          },
          .is_input_path = true,
          .is_function = true};
}

Check input_path_or(std::vector<std::string> words) {
  Check check = input_path();
  check.text = base::concat("one of ", base::join(words, ", "), ", or a path");
  check.words = std::move(words);
  return check;
}

std::string value_text(const std::string& value) { return value; }
std::string value_text(int64_t value) { return std::to_string(value); }
std::string value_text(int value) { return std::to_string(value); }
std::string value_text(double value) { return number_text(value); }
std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(const std::vector<KeyBinding>& value) {
  std::vector<std::string> pieces;
  for (const KeyBinding& binding : value) {
    pieces.push_back(binding.interface_key == binding.graph_key
                         ? binding.graph_key
                         : binding.interface_key + ":" + binding.graph_key);
  }
  return base::join(pieces, ", ");
}

std::optional<std::string> read_value(std::string_view text, std::string& value) {
  value = text;
  return std::nullopt;
}
std::optional<std::string> read_value(std::string_view text, int64_t& value) {
  return read_number(text, value, "an integer");
}
std::optional<std::string> read_value(std::string_view text, int& value) {
  return read_number(text, value, "an integer");
}
std::optional<std::string> read_value(std::string_view text, double& value) {
  double parsed = 0;
  if (const auto problem = read_number(text, parsed, "a number")) return problem;
  if (!std::isfinite(parsed)) return base::concat("'", text, "' is not a finite number");
  value = parsed;
  return std::nullopt;
}
std::optional<std::string> read_value(std::string_view text, bool& value) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") {
    value = true;
  } else if (text == "false" || text == "no" || text == "off" || text == "0") {
    value = false;
  } else {
    return base::concat("'", text, "' is neither true nor false");
  }
  return std::nullopt;
}
std::optional<std::string> read_value(std::string_view text, std::vector<KeyBinding>& value) {
  std::vector<KeyBinding> bindings;
  for (const std::string& piece : base::split(text, ',')) {
    const std::string_view item = base::trim(piece);
    if (item.empty()) {
      if (base::trim(text).empty()) break;  // an empty list
      return base::concat("'", text, "' has an empty item");
    }
    const size_t colon = item.find(':');
    const std::string_view interface_key = base::trim(item.substr(0, colon));
    const std::string_view graph_key =
        colon == std::string_view::npos ? interface_key : base::trim(item.substr(colon + 1));
    if (interface_key.empty() || graph_key.empty()) {
      return base::concat("'", item, "' is not `key` or `interface_key:graph_key`");
    }
    bindings.push_back({std::string(interface_key), std::string(graph_key)});
  }
  value = std::move(bindings);
  return std::nullopt;
}

}  // namespace orrery::config
