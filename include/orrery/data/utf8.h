// Is a text UTF-8? JSON files must be, and a wrong byte must be named before it reaches a model.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace orrery::data {

/// Where the first byte is that begins no well-formed character (Unicode 15, table 3-7: overlong
/// forms, surrogates and code points above 10FFFF are malformed, and so is a character cut off at
/// the end); nothing when all of `text` is UTF-8.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// The text with U+FFFD in place of what is no UTF-8: one for each longest run of bytes that could
/// have begun a character, and one for each byte that could not.
std::string replace_invalid_utf8(std::string text);

/// How many bytes at the end of `text` begin a character that further bytes could complete: 0 to 3.
std::size_t unfinished_utf8(std::string_view text);

}  // namespace orrery::data
