// Texts with a few mistakes in them, drawn from a number: what the fuzz tests feed to parsers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "orrery/base/philox.h"

namespace orrery {

/// How many a fuzz test makes: what ORRERY_MUTATIONS says, or `usual`.
inline uint64_t n_mutations(uint64_t usual) {
  const char* const text = std::getenv("ORRERY_MUTATIONS");
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

/// Sound JSON, deeper than a stack: whoever goes into it level by level crashes.
inline std::string deep_json() { return std::string(100'000, '[') + std::string(100'000, ']'); }

/// Pieces that mean something in JSON, or break it, and `more` that mean something in one format.
inline std::vector<std::string> json_pieces(std::initializer_list<std::string> more) {
  std::vector<std::string> pieces = {"\"",
                                     "{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "-1",
                                     "1e99",
                                     "null",
                                     "true",
                                     "0.5",
                                     "\\u0000",
                                     "\xff\xfe",
                                     "999999999999999999999",
                                     "9223372036854775807",
                                     std::string(1, '\0'),
                                     std::string(300, '{'),
                                     deep_json()};
  pieces.insert(pieces.end(), more);
  return pieces;
}

/// Numbers in turn, all from one name.
class Draws {
 public:
  explicit Draws(uint64_t name) : name_(name) {}
  size_t below(size_t n) { return static_cast<size_t>(base::philox_below(17, name_, next_++, n)); }

 private:
  uint64_t name_, next_ = 0;
};

/// Another byte, a flipped bit, an end before the end, some bytes gone, one of `pieces` put in, or
/// a piece of the text itself once more, at any place of a text that is not empty.
inline void change_text(std::string& text, std::span<const std::string> pieces, Draws& draws) {
  const size_t at = draws.below(text.size());
  switch (draws.below(6)) {
    case 0:
      text[at] = static_cast<char>(draws.below(256));
      break;
    case 1:
      text[at] = static_cast<char>(text[at] ^ (1 << draws.below(8)));
      break;
    case 2:
      text.resize(at);
      break;
    case 3:
      text.erase(at, 1 + draws.below(16));
      break;
    case 4:
      text.insert(at, pieces[draws.below(pieces.size())]);
      break;
    case 5: {
      const std::string piece = text.substr(at, 1 + draws.below(40));
      text.insert(draws.below(text.size()), piece);
      break;
    }
  }
}

}  // namespace orrery
