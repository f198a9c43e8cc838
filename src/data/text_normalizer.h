// The normalizer of a tokenizer.json: what a text goes through before it is split. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "split_pattern.h"

namespace orrery::data {

struct NormalizerStep {
  enum class Kind : uint8_t { kNfc, kNfd, kNfkc, kNfkd, kPrepend, kReplace };

  Kind kind = Kind::kNfc;
  std::string pattern = {};  // kReplace: a regular expression
  std::string content = {};  // kPrepend, kReplace
};

class TextNormalizer {
 public:
  /// Throws ConfigError for a pattern that cannot be used, or that matches nothing at all.
  explicit TextNormalizer(const std::vector<NormalizerStep>& steps);

  bool empty() const { return steps_.empty(); }
  /// The steps in order. `text` is UTF-8; an empty text stays empty.
  std::string apply(std::string text) const;

  bool has_unicode_form() const;
  /// How many symbols a text of `n` bytes, cut in at most `n_parts`, has at most afterwards; `cost`
  /// counts those of a text put in. Not of Unicode forms, which make some texts longer.
  int64_t symbols_at_most(int64_t n, int64_t n_parts,
                          const std::function<int64_t(std::string_view)>& cost) const;

 private:
  struct Step {
    NormalizerStep step;
    std::optional<SplitPattern> pattern;
  };
  std::vector<Step> steps_;
};

/// The pattern of a Replace step. Throws ConfigError for one that matches nothing at all.
SplitPattern replace_pattern(const std::string& pattern);

/// `text` with each match of `pattern` replaced.
std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content);

}  // namespace orrery::data
