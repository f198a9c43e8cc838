// Files that commands read and write as text: the users' own, so every mistake in them is named.
// Rank 0.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::cli {

using TokenSequences = std::vector<std::vector<int64_t>>;

/// What the ids of an input must be for a model.
struct TokenLimits {
  int64_t vocab_size = 0;
  int64_t max_length = 0;     ///< of a sequence
  std::string length_reason;  ///< what max_length follows from, for the message
};

/// `{"sequences": [[ids...], ...]}`. Throws DataError that names file and place: not there, no
/// JSON, a wrong type, no sequence, an empty one, an id out of the vocabulary, a too long sequence.
TokenSequences read_token_file(const std::filesystem::path& file, const TokenLimits& limits);

/// Prompts of a JSONL file: an object with a string `prompt` on each line; other fields are left
/// alone. Throws DataError that names file:line.
std::vector<std::string> read_prompt_file(const std::filesystem::path& file);

/// Throws as read_token_file() when a sequence breaks `limits`; places[i] says where
/// it is from.
void check_sequences(const TokenSequences& sequences, const TokenLimits& limits,
                     const std::vector<std::string>& places);

/// Throws ConfigError unless `file` can be written: before hours of work, not after. `-` is good.
void check_output(const std::filesystem::path& file);

/// To the file, whole or not at all, or to standard output for `-`. Throws OutputError.
void write_output(const std::filesystem::path& file, const std::string& text);

/// Builds JSON that reads back to the same doubles. What is not finite becomes null.
class JsonText {
 public:
  void raw(std::string_view text) { text_ += text; }
  void number(double value);
  void integer(int64_t value);
  /// Quoted; bytes that are no UTF-8 become U+FFFD.
  void string(const std::string& value);
  void numbers(std::span<const double> values);
  void integers(std::span<const int64_t> values);

  int64_t n_not_finite() const { return n_not_finite_; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  int64_t n_not_finite_ = 0;
};

}  // namespace orrery::cli
