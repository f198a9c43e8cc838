// JSON for a <script> element of an HTML page. Nothing in it can end the element or begin another:
// `<`, `>`, `&` and the line separators U+2028 and U+2029 are escaped, bytes that are no UTF-8
// become U+FFFD, and numbers that are not finite become null. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orrery::report {

class ScriptText {
 public:
  ScriptText& begin_object();
  ScriptText& end_object();
  ScriptText& begin_list();
  ScriptText& end_list();
  ScriptText& key(std::string_view name);
  ScriptText& text(std::string_view value);
  /// Seven significant digits: more than a picture shows.
  ScriptText& number(double value);
  ScriptText& integer(int64_t value);

  const std::string& str() const { return text_; }

 private:
  void separate();
  void append_quoted(std::string_view value);

  std::string text_;
  bool needs_comma_ = false;
};

/// Text for the body or a quoted attribute of HTML or SVG.
std::string html_text(std::string_view text);

}  // namespace orrery::report
