// The decoder of a character-level tokenizer.json: token texts back to text. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "split_pattern.h"

namespace orrery::data {

struct DecoderStep {
  enum class Kind : uint8_t {
    kReplace,       // each match of `pattern` by `content`, token by token
    kMetaspace,     // each `content` by a space; with n_at_start the first token's by nothing
    kByteFallback,  // "<0x41>" by its byte; runs of bytes that are no UTF-8 by U+FFFD each
    kFuse,          // one text of all
    kStrip,         // at most n_at_start times `content` at the beginning left out
  };
  Kind kind = Kind::kFuse;
  std::string pattern = {};
  std::string content = {};
  int n_at_start = 0;
};

/// The byte that a token such as "<0x0A>" stands for.
std::optional<uint8_t> byte_of_token(std::string_view token);
/// And the other way round.
std::string token_of_byte(uint8_t byte);

class TokenDecoder {
 public:
  /// In the order that TokenizerFile checks. Throws ConfigError for a pattern that cannot be used.
  explicit TokenDecoder(const std::vector<DecoderStep>& steps);

  std::string text_of(std::vector<std::string> tokens) const;
  /// What one token adds to a text that has begun.
  std::string bytes_of(std::string_view token) const;

 private:
  struct Step {
    DecoderStep step;
    std::optional<SplitPattern> pattern;
  };
  std::string spelled(std::string_view token, bool is_first) const;

  std::vector<Step> steps_;
  bool has_bytes_ = false;
  std::string stripped_;  // left out once at the beginning; empty: nothing
};

}  // namespace orrery::data
