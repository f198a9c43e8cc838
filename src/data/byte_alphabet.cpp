#include "byte_alphabet.h"

#include <array>

namespace orrery::data {

namespace {

constexpr uint32_t kLast = 0x143;  // of the alphabet; below U+0800, so at most two bytes of UTF-8

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, kLast + 1> bytes = {};  // -1: not in the alphabet

  Alphabet() {
    bytes.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      const uint32_t code = is_printable ? byte : next++;
      bytes[code] = static_cast<int16_t>(byte);
      std::string& text = characters[byte];
      if (code >= 0x80) text += static_cast<char>(0xc0 | (code >> 6));
      text += static_cast<char>(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet only;
  return only;
}

}  // namespace

std::string_view character_of_byte(uint8_t byte) { return alphabet().characters[byte]; }

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  std::string bytes;
  bytes.reserve(characters.size());
  for (std::size_t i = 0; i < characters.size(); ++i) {
    uint32_t code = static_cast<uint8_t>(characters[i]);
    if (code >= 0x80) {
      if ((code & 0xe0) != 0xc0 || i + 1 == characters.size()) return std::nullopt;
      code = ((code & 0x1f) << 6) | (static_cast<uint8_t>(characters[++i]) & 0x3fU);
    }
    if (code > kLast || alphabet().bytes[code] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet().bytes[code]);
  }
  return bytes;
}

}  // namespace orrery::data
