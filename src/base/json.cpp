#include "orrery/base/json.h"

#include <cstddef>

#include "orrery/base/text.h"

namespace orrery::base {

std::optional<std::string> json_depth_problem(std::string_view text) {
  int depth = 0;
  bool is_in_text = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_in_text) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        is_in_text = false;
      }
    } else if (c == '"') {
      is_in_text = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestJson) {
        return concat("JSON nested deeper than ", kDeepestJson, " at byte ", i + 1);
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

std::string json_reason(const std::exception& error) {
  std::string_view reason = error.what();
  if (const size_t at = reason.find("] "); at != std::string_view::npos)
    reason.remove_prefix(at + 2);
  return std::string(reason);
}

}  // namespace orrery::base
