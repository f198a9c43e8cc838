// The one way in and out for JSON text, whatever it is of: models' configurations, headers of
// safetensors, manifests, tokens, records, answers of commands, tokenizers, states. The library
// parses any depth, but what it then does with a value (to copy, to print, to end it) takes stack
// for each level, so text that is nested deeper than any of these files is refused before. Local;
// any thread. Only .cpp files include this: the library's header costs seconds.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace orrery::base {

/// Objects and lists inside each other. What the files above have is below ten.
inline constexpr int kDeepestJson = 64;

/// Why `text` is nested too deep, or nothing. Text that is no JSON may pass: parsing finds that.
std::optional<std::string> json_depth_problem(std::string_view text);

/// What a parse error of the library says, without its numbering.
std::string json_reason(const std::exception& error);

/// On one line. Bytes that are no UTF-8 become U+FFFD (a text may be cut inside a character);
/// numbers that are not finite become null; others read back as the same double.
template <class Json>
std::string json_line(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

/// A field of an object as text: a text as it is, another value on one line; `none` where there is
/// no such field, or null.
inline std::string field_text(const nlohmann::json& object, const std::string& name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "none";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

template <class Json>
struct ParsedJson {
  Json value;           ///< null where there is a problem
  std::string problem;  ///< empty: none
};

/// The value that `text` is, or why there is none. `watch` sees each part, as the library's
/// callback.
template <class Json = nlohmann::json>
ParsedJson<Json> parse_json(std::string_view text,
                            const typename Json::parser_callback_t& watch = nullptr) {
  if (auto problem = json_depth_problem(text)) return {.value = {}, .problem = *problem};
  try {
    return {.value = Json::parse(text.begin(), text.end(), watch), .problem = {}};
  } catch (const typename Json::exception& error) {
    return {.value = {}, .problem = "not JSON: " + json_reason(error)};
  }
}

/// Gives the parts of `text` to `handler`, one of nlohmann's json_sax, whose own parse_error gets
/// what is wrong with the text. Why it is nested too deep, or nothing.
template <class Handler>
std::optional<std::string> scan_json(std::string_view text, Handler& handler) {
  if (auto problem = json_depth_problem(text)) return problem;
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  return std::nullopt;
}

}  // namespace orrery::base
