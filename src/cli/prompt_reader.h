// Prompts that are text as ids of the model that continues them. Rank 0; an object belongs to one
// thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model_source.h"
#include "orrery/data/chat_template.h"
#include "orrery/data/tokenizer.h"
#include "text_file.h"

namespace orrery::cli {

/// What the ids of a prompt must be, so that something can be generated.
TokenLimits prompt_limits(const ModelSource& source);

class PromptReader {
 public:
  /// `is_chat`: each prompt is a message of a user, written by the model's chat template. Throws
  /// ConfigError when the model has no tokenizer, or no chat template where one is needed.
  PromptReader(const ModelSource& source, const std::string& add_bos, bool is_chat);

  /// Throws DataError that begins with `place`: no UTF-8, no token, too long.
  std::vector<int64_t> ids_of(const std::string& prompt, const std::string& place) const;
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::string as_message(const std::string& prompt, const std::string& place) const;

  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::optional<data::ChatTemplate> chat_;
  std::vector<int32_t> special_tokens_;
  TokenLimits limits_;
};

}  // namespace orrery::cli
