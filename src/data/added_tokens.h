// Tokens that are matched as a whole in the text, before anything else splits it: names of special
// tokens, and words added after training. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::data {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool is_special = false;     // left out when special tokens are skipped
  bool is_normalized = false;  // matched in the normalised text, not in the text as written
  bool single_word = false;    // not inside a word
  bool strips_left = false;    // takes the white space before it
  bool strips_right = false;   // and behind it
};

/// A part of a text: an added token, or text without one.
struct TextPart {
  std::string_view text;
  std::optional<int32_t> added_id;
};

/// Finds tokens in text: the leftmost first, of several at one place the longest.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  /// The parts of a text, in order. Views into it.
  std::vector<TextPart> parts(std::string_view text) const;

 private:
  const AddedToken* match_at(std::string_view rest) const;

  std::vector<AddedToken> tokens_;              // by first byte, the longest first
  std::array<std::size_t, 257> begin_of_ = {};  // [b]: first token that begins with byte b
};

}  // namespace orrery::data
