// tokenizer.json as plain values. Reading refuses, by name, all that BpeTokenizer does not do.
// Local; cost: the file's size, some times over.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "added_tokens.h"
#include "split_pattern.h"
#include "text_normalizer.h"
#include "token_decoder.h"

namespace orrery::data {

struct PreTokenizerStep {
  enum class PrefixSpace : uint8_t { kNo, kIfMissing, kIfMissingAtStart };

  std::string space_symbol = {};                // replaces each space before all else; empty: none
  PrefixSpace prefix_space = PrefixSpace::kNo;  // a space, or its symbol, before it splits
  std::string pattern;                          // empty: it does not split
  SplitBehavior behavior = SplitBehavior::kIsolated;
  SplitInvert invert = SplitInvert::kNo;
};

struct TokenizerFile {
  std::vector<std::pair<std::string, int32_t>> vocabulary;  // in the file's spelling; ids differ
  struct Merge {
    std::string left;
    std::string right;
  };
  std::vector<Merge> merges;  // the first learned first
  bool ignores_merges = false;
  bool fuses_unknown = false;
  std::string unknown_token;   // empty: characters without a token are left out
  bool is_byte_level = false;  // tokens are spelled in the alphabet of bytes, else as characters
  bool has_byte_fallback = false;  // characters without a token: their bytes, "<0x0A>"

  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<int32_t> tokens_before;  // what the post-processor puts around a text
  std::vector<int32_t> tokens_behind;
  std::vector<DecoderStep> decoder;  // of character-level files

  /// `name` stands in errors. Throws ConfigError.
  static TokenizerFile parse(std::string_view json, const std::string& name);
};

/// What to do about a tokenizer.json that is not for this program to run.
std::string tokenize_beforehand(const std::string& file);

}  // namespace orrery::data
