// A regular expression (PCRE2) that texts of a model are tried with. Its steps are counted the same
// on every machine, so a text that takes too many is undecided everywhere. Any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "orrery/config/field.h"  // Check

namespace orrery::algorithm {

class TextPattern {
 public:
  /// Throws ConfigError with the position of what is wrong with the pattern.
  explicit TextPattern(const std::string& pattern);
  ~TextPattern();
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;

  enum class Match {
    kYes,
    kNo,
    kUndecided,  ///< more than a million steps
  };
  /// Whether it matches somewhere in `text`, which may hold bytes that are no UTF-8: nothing
  /// matches these.
  Match match(std::string_view text) const;

  /// Pairs of ( ) that keep what they match.
  int n_groups() const;
  /// What the first group has in the last match in `text`; nothing where there is no match, where
  /// the group took no part in it, and where it took too many steps.
  std::optional<std::string> last_group(std::string_view text) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

/// A pattern, or nothing.
config::Check text_pattern();

}  // namespace orrery::algorithm
