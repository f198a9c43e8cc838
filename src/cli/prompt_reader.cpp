#include "prompt_reader.h"

#include <nlohmann/json.hpp>
#include <utility>  // move

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/prompt_template.h"
#include "orrery/data/utf8.h"

namespace orrery::cli {

TokenLimits prompt_limits(const ModelSource& source) {
  return {.vocab_size = source.architecture.vocab_size,
          .max_length = source.architecture.max_positions - 1,
          .length_reason =
              base::concat("the context of the model is ", source.architecture.max_positions,
                           ", and one must be left to generate")};
}

PromptReader::PromptReader(const ModelSource& source, const std::string& add_bos, bool is_chat)
    : tokenizer_(tokenizer_for(source)), limits_(prompt_limits(source)) {
  std::optional<data::ChatTemplateText> chat = tokenizer_->chat_template();
  if (!is_chat) {
    if (chat) {
      base::log_warning(
          base::concat(chat->origin,
                       " has a chat template; prompts are taken as they stand. --chat writes each "
                       "as a message of a user"));
    }
    special_tokens_ = data::beginning_tokens(add_bos, *tokenizer_);
    return;
  }
  if (!chat) {
    throw ConfigError("--chat: the model's directory has no chat template",
                      {.expected = "chat_template.jinja, or chat_template in "
                                   "tokenizer_config.json",
                       .got = "neither",
                       .advice = "leave --chat out: prompts are then taken as they stand"});
  }
  chat_.emplace(std::move(*chat));
}

std::string PromptReader::as_message(const std::string& prompt, const std::string& place) const {
  const nlohmann::json message = {{"role", "user"}, {"content", prompt}};
  try {
    return chat_->render(nlohmann::json::array({message}), data::GenerationPrompt::kAdd);
  } catch (const data::ChatTemplateError& refused) {
    throw DataError(base::concat(place, ": the chat template: ", refused.what()));
  }
}

std::vector<int64_t> PromptReader::ids_of(const std::string& prompt,
                                          const std::string& place) const {
  if (const auto wrong = data::first_invalid_utf8(prompt)) {
    throw DataError(place, {.expected = "text in UTF-8",
                            .got = base::concat("byte ", *wrong + 1, " begins no character"),
                            .advice = "write it in UTF-8"});
  }
  std::vector<int32_t> ids = tokenizer_->encode(chat_ ? as_message(prompt, place) : prompt);
  data::put_before(special_tokens_, ids);
  std::vector<int64_t> sequence(ids.begin(), ids.end());
  check_sequences({sequence}, limits_, {place});
  return sequence;
}

}  // namespace orrery::cli
