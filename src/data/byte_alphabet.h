// The alphabet in which byte-level vocabularies are written: each byte is one printable character.
// Printable bytes of Latin-1 are themselves, the 68 others follow from U+0100 on. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orrery::data {

/// The character of a byte, in UTF-8.
std::string_view character_of_byte(uint8_t byte);

/// The bytes that these characters stand for; nothing when one of them is not in the alphabet.
std::optional<std::string> bytes_of_characters(std::string_view characters);

}  // namespace orrery::data
