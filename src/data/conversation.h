// A record of messages as the texts of a prompt and its answer, written by the chat template of the
// tokenizer's directory. Local; an object belongs to one thread. Private to src/data.
#pragma once

#include <string>
#include <string_view>

#include "json_record.h"
#include "orrery/config/experiment.h"  // DatasetConfig
#include "orrery/data/chat_template.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class Conversation {
 public:
  /// Throws ConfigError where the tokenizer's directory has no chat template, or one that does not
  /// fit together.
  Conversation(const config::DatasetConfig& dataset, const Tokenizer& tokenizer);

  /// Fills whole_prompt, prompt and, of kind completions, completion from a line of valid JSON.
  /// Returns what is wrong, in words for the person who wrote the file; empty: nothing.
  std::string read(std::string_view line, Record& record) const;

 private:
  Conversation(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
               ChatTemplateText chat);
  std::string add_answer(const std::string& all, Record& record) const;

  std::string field_;
  bool has_answers_;
  std::string end_token_;  // as the template writes it
  ChatTemplate template_;
};

}  // namespace orrery::data
