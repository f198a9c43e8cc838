#include "orrery/report/script_text.h"

#include <charconv>
#include <cmath>

#include "orrery/base/json.h"

namespace orrery::report {

ScriptText& ScriptText::begin_object() {
  separate();
  text_ += '{';
  needs_comma_ = false;
  return *this;
}

ScriptText& ScriptText::end_object() {
  text_ += '}';
  needs_comma_ = true;
  return *this;
}

ScriptText& ScriptText::begin_list() {
  separate();
  text_ += '[';
  needs_comma_ = false;
  return *this;
}

ScriptText& ScriptText::end_list() {
  text_ += ']';
  needs_comma_ = true;
  return *this;
}

ScriptText& ScriptText::key(std::string_view name) {
  separate();
  append_quoted(name);
  text_ += ':';
  needs_comma_ = false;
  return *this;
}

ScriptText& ScriptText::text(std::string_view value) {
  separate();
  append_quoted(value);
  return *this;
}

ScriptText& ScriptText::number(double value) {
  separate();
  if (!std::isfinite(value)) {
    text_ += "null";
    return *this;
  }
  char digits[32];
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::general, 7);
  text_.append(digits, end.ptr);
  return *this;
}

ScriptText& ScriptText::integer(int64_t value) {
  separate();
  text_ += std::to_string(value);
  return *this;
}

void ScriptText::separate() {
  if (needs_comma_) text_ += ',';
  needs_comma_ = true;
}

void ScriptText::append_quoted(std::string_view value) {
  const std::string quoted = base::json_line(nlohmann::json(value));
  for (size_t i = 0; i < quoted.size(); ++i) {
    const std::string_view rest = std::string_view(quoted).substr(i, 3);
    if (quoted[i] == '<') {
      text_ += "\\u003c";
    } else if (quoted[i] == '>') {
      text_ += "\\u003e";
    } else if (quoted[i] == '&') {
      text_ += "\\u0026";
    } else if (rest == "\xE2\x80\xA8" || rest == "\xE2\x80\xA9") {
      text_ += rest.back() == '\xA8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      text_ += quoted[i];
    }
  }
}

std::string html_text(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '&':
        safe += "&amp;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

}  // namespace orrery::report
