#include "orrery/data/utf8.h"

#include <cstdint>
#include <cstring>  // memcpy

namespace orrery::data {

namespace {

bool is_within(unsigned char byte, unsigned char low, unsigned char high) {
  return byte >= low && byte <= high;
}

/// Bytes of the well-formed character at `text`, of which `size` bytes are there; 0 when there is
/// none. Only the second byte's range depends on the first.
std::size_t character_size(const unsigned char* text, std::size_t size) {
  const unsigned char first = text[0];
  if (first < 0x80) return 1;
  std::size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (is_within(first, 0xc2, 0xdf)) {
    length = 2;
  } else if (is_within(first, 0xe0, 0xef)) {
    length = 3;
    if (first == 0xe0) low = 0xa0;   // else overlong
    if (first == 0xed) high = 0x9f;  // else a surrogate
  } else if (is_within(first, 0xf0, 0xf4)) {
    length = 4;
    if (first == 0xf0) low = 0x90;   // else overlong
    if (first == 0xf4) high = 0x8f;  // else above 10FFFF
  }
  if (length == 0 || length > size || !is_within(text[1], low, high)) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (!is_within(text[i], 0x80, 0xbf)) return 0;
  }
  return length;
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    // Eight bytes of ASCII at a time: most data is nothing else.
    uint64_t word = 0;
    while (at + sizeof word <= text.size()) {
      std::memcpy(&word, bytes + at, sizeof word);
      if ((word & 0x8080808080808080ULL) != 0) break;
      at += sizeof word;
    }
    if (at == text.size()) break;
    const std::size_t size = character_size(bytes + at, text.size() - at);
    if (size == 0) return at;
    at += size;
  }
  return std::nullopt;
}

}  // namespace orrery::data
