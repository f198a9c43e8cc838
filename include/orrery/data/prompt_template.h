// What stands around the prompt and the instruction of every record of a data set: a chat format as
// plain text. Names of special tokens in it give these tokens, as everywhere in a text.
// Immutable: any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "orrery/config/experiment.h"  // DatasetConfig
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class PromptTemplate {
 public:
  explicit PromptTemplate(const config::DatasetConfig& dataset);

  /// The whole prompt: the instruction `system`, if it is not empty, and `prompt`, each between its
  /// prefix and suffix. A view of `prompt` where nothing is added, else of `buffer`.
  std::string_view prompt(std::string_view system, std::string_view prompt,
                          std::string& buffer) const;

 private:
  std::string system_prefix_;
  std::string system_suffix_;
  std::string prompt_prefix_;
  std::string prompt_suffix_;
};

/// The same of add_bos alone.
std::vector<int32_t> beginning_tokens(std::string_view add_bos, const Tokenizer& tokenizer);

/// `special_tokens` before `ids`, unless they are there already, as from a prompt_prefix.
void put_before(const std::vector<int32_t>& special_tokens, std::vector<int32_t>& ids);

/// What looks like the name of a special token in these texts (`<|user|>`) and is none of the
/// tokenizer's, each as a remark for the log: often the format of another model.
std::vector<std::string> marks_taken_as_text(const config::DatasetConfig& dataset,
                                             const Tokenizer& tokenizer);

}  // namespace orrery::data
