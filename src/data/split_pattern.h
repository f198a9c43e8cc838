// Regular expressions of tokenizer.json, and the ways in which a text is split at their matches.
// The files are written for the library Oniguruma; PCRE2 runs them here. Where both read the same
// pattern differently, the pattern is rewritten, or refused by name. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::data {

class SplitPattern {
 public:
  /// Throws ConfigError with the position of what is wrong with the pattern.
  explicit SplitPattern(const std::string& pattern);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  /// Whether it can match where there is no character.
  bool matches_empty() const;

  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool is_match = false;
  };
  /// The matches in `text` (UTF-8) and what lies between, in order, covering all of it.
  /// Throws DataError when the pattern takes too long on this text.
  std::vector<Range> ranges(std::string_view text) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

enum class SplitBehavior : uint8_t {
  kIsolated,            // matches and what lies between are pieces
  kRemoved,             // matches are left out
  kMergedWithPrevious,  // a match belongs to the piece before it
  kMergedWithNext,      // a match belongs to the piece behind it
  kContiguous,          // matches side by side are one piece
};
enum class SplitInvert : uint8_t { kNo, kYes };  // yes: what lies between counts as the matches

/// The pieces of `text`, none of them empty. Views into it.
std::vector<std::string_view> split_text(std::string_view text, const SplitPattern& pattern,
                                         SplitBehavior behavior, SplitInvert invert);

/// A pattern that matches exactly this text.
std::string pattern_of_literal(std::string_view literal);

/// How GPT-2 splits text into words: contractions, letters, digits and others, each with a space
/// before it, and white space.
extern const char* const kGpt2Pattern;

}  // namespace orrery::data
