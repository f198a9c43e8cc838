// One line of a JSON lines file: an object of which a few text fields are wanted. Parsed without
// building a tree; other fields are checked for syntax and skipped.
// Local; an object belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "orrery/config/experiment.h"  // DatasetConfig: names of the fields
#include "orrery/data/tokenizer.h"

namespace orrery::data {

/// Throws ConfigError for another kind than `prompts`, `completions`, `preferences`, `labelled`.
config::DatasetKind record_kind(const config::DatasetConfig& dataset);

/// What a record says. Buffers are reused from line to line.
struct Record {
  bool has_id = false;
  bool has_answer = false;
  std::string id;      // a number as its digits
  std::string system;  // empty when the record has none
  std::string prompt;
  std::string whole_prompt;  // of messages: with all that the chat template puts around them
  std::string answer;        // empty when the record has none; a number as it is written
  std::string completion;    // of kinds completions, labelled; of kind preferences the better one
  std::string rejected;      // of kind preferences: the worse one
  double margin = 0;         // of kind preferences: how much better the better one is
  bool is_good = false;      // of kind labelled
};

class Conversation;

class RecordParser {
 public:
  /// `tokenizer`: whose chat template writes messages. Throws ConfigError as Conversation does.
  RecordParser(const config::DatasetConfig& dataset, const Tokenizer& tokenizer);
  ~RecordParser();

  /// Reads `line` (without its line end) into `record`. Returns what is wrong with it, in words for
  /// the person who wrote the file; empty: nothing.
  std::string parse(std::string_view line, Record& record) const;

  const std::string& answer_field() const { return answer_field_; }

  /// All fields of a line that parse() has accepted but system, prompt and answer, as they stand
  /// there: one JSON object without spaces between its parts. For rewards, which alone know what
  /// they mean.
  std::string other_fields(std::string_view line) const;

 private:
  config::DatasetKind kind_;
  std::string id_field_;
  std::string system_field_;
  std::string prompt_field_;
  std::string answer_field_;
  std::string completion_field_;  // of kind preferences that of the better answer
  std::string rejected_field_;
  std::string margin_field_;
  std::string label_field_;
  std::unique_ptr<const Conversation> conversation_;  // of messages
};

}  // namespace orrery::data
