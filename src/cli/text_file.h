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

/// Builds a JSON object of lists, an element a line. Numbers read back to the same doubles; what is
/// not finite becomes null.
class JsonLists {
 public:
  /// Begins a list, which ends the one before.
  void begin(const std::string& name);

  // An element of it.
  void number(double value);
  void text(const std::string& value);  ///< bytes that are no UTF-8 become U+FFFD
  void numbers(std::span<const double> values);
  void integers(std::span<const int64_t> values);
  /// Rows of `n_columns` numbers.
  void rows(std::span<const double> values, int64_t n_columns);

  int64_t n_not_finite() const { return n_not_finite_; }
  /// The object; once.
  std::string take();

 private:
  void add(std::string_view element);
  void count(std::span<const double> values);

  std::string text_;
  bool has_elements_ = false;  // the list that was begun last
  int64_t n_not_finite_ = 0;
};

}  // namespace orrery::cli
