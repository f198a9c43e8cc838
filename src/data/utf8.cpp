#include "orrery/data/utf8.h"

#include <cstdint>
#include <cstring>  // memcpy

namespace orrery::data {

namespace {

bool is_within(unsigned char byte, unsigned char low, unsigned char high) {
  return byte >= low && byte <= high;
}

/// How a character begins at `text`: its length by its first byte (0: no character begins so), and
/// how many of its bytes are there and well formed. Only the second byte's range depends on the
/// first.
struct Beginning {
  std::size_t length = 0;
  std::size_t present = 0;
};

Beginning beginning_of(const unsigned char* text, std::size_t size) {
  const unsigned char first = text[0];
  if (first < 0x80) return {1, 1};
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
  } else {
    return {0, 1};
  }
  std::size_t present = 1;
  while (present < length && present < size && is_within(text[present], low, high)) {
    ++present;
    low = 0x80;
    high = 0xbf;
  }
  return {length, present};
}

/// Bytes of the well-formed character at `text`, of which `size` bytes are there; 0 when there is
/// none.
std::size_t character_size(const unsigned char* text, std::size_t size) {
  const Beginning begin = beginning_of(text, size);
  return begin.present == begin.length ? begin.length : 0;
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

std::string replace_invalid_utf8(std::string text) {
  std::optional<std::size_t> wrong = first_invalid_utf8(text);
  if (!wrong) return text;
  std::string result;
  std::string_view rest = text;
  while (wrong) {
    result += rest.substr(0, *wrong);
    rest.remove_prefix(*wrong);
    result += "\xEF\xBF\xBD";
    rest.remove_prefix(
        beginning_of(reinterpret_cast<const unsigned char*>(rest.data()), rest.size()).present);
    wrong = first_invalid_utf8(rest);
  }
  result += rest;
  return result;
}

std::size_t unfinished_utf8(std::string_view text) {
  constexpr std::size_t kMost = 3;
  for (std::size_t n = 1; n <= kMost && n <= text.size(); ++n) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data() + text.size() - n);
    const Beginning begin = beginning_of(bytes, n);
    if (begin.length > n && begin.present == n) return n;
  }
  return 0;
}

}  // namespace orrery::data
