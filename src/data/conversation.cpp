#include "conversation.h"

#include <utility>  // move

#include "orrery/base/error.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::data {

namespace {

using base::concat;
using nlohmann::json;

ChatTemplateText template_of(const config::DatasetConfig& dataset, const Tokenizer& tokenizer) {
  if (std::optional<ChatTemplateText> chat = tokenizer.chat_template()) return std::move(*chat);
  throw ConfigError(concat("data set ", dataset.path, " has messages"),
                    {.expected = "a model whose directory has a chat template beside "
                                 "tokenizer.json",
                     .got = "none",
                     .advice = "take a chat model, or render the messages with "
                               "tools/prepare_data.py --template FILE"});
}

/// The text of the tokenizer's end token, by which answers are cut.
std::string end_token_of(const ChatTemplateText& chat, const Tokenizer& tokenizer) {
  const auto found = chat.special_tokens.find("eos_token");
  if (found == chat.special_tokens.end()) return "";
  const std::vector<int32_t> ids = tokenizer.encode(found->second);
  return ids == std::vector<int32_t>{tokenizer.eos_id()} ? found->second : "";
}

/// Why these are no messages, or nothing.
std::string problem_with(const json& messages, const std::string& field) {
  if (!messages.is_array() || messages.empty()) {
    return concat("field \"", field,
                  "\" must be a list of messages {\"role\": ..., \"content\": "
                  "...}");
  }
  for (const json& message : messages) {
    for (const char* name : {"role", "content"}) {
      if (message.is_object() && message.contains(name) && message[name].is_string()) continue;
      return concat("field \"", field, "\": a message without ", name, ", or whose ", name,
                    " is no text");
    }
    if (message.contains("tool_calls") && !message["tool_calls"].empty()) {
      return concat("field \"", field,
                    "\": a message with tool calls: tools/prepare_data.py writes these");
    }
  }
  return {};
}

}  // namespace

Conversation::Conversation(const config::DatasetConfig& dataset, const Tokenizer& tokenizer)
    : Conversation(dataset, tokenizer, template_of(dataset, tokenizer)) {}

Conversation::Conversation(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                           ChatTemplateText chat)
    : field_(dataset.messages_field),
      has_answers_(dataset.is(config::DatasetKind::kCompletions)),
      end_token_(end_token_of(chat, tokenizer)),
      template_(std::move(chat)) {}

std::string Conversation::read(std::string_view line, Record& record) const {
  auto [fields, problem] = base::parse_json(line);
  if (!problem.empty()) return problem;
  const auto found = fields.find(field_);
  if (found == fields.end()) return concat("field \"", field_, "\" is missing");
  json messages = std::move(*found);
  if (problem = problem_with(messages, field_); !problem.empty()) return problem;
  const bool ends_with_answer = messages.back()["role"] == "assistant";
  if (ends_with_answer != has_answers_) {
    return concat("field \"", field_, "\" ends with a message of role ",
                  messages.back()["role"].get<std::string>(),
                  has_answers_ ? ", but of kind completions the last one is the answer to learn "
                                 "(role assistant)"
                               : ", but of kind prompts the last one is what the model answers");
  }
  try {
    std::string all;
    if (has_answers_) {
      all = template_.render(messages, GenerationPrompt::kNone);
      messages.erase(messages.size() - 1);
    }
    record.whole_prompt = template_.render(messages, GenerationPrompt::kAdd);
    record.prompt = messages.empty() ? "" : messages.back()["content"].get<std::string>();
    if (record.prompt.empty()) return concat("field \"", field_, "\": nothing to answer");
    return has_answers_ ? add_answer(all, record) : std::string();
  } catch (const ChatTemplateError& refused) {
    return concat("the chat template: ", refused.what(),
                  " (what it cannot write here tools/prepare_data.py may)");
  }
}

/// The answer is what stands between the prompt and the end token.
std::string Conversation::add_answer(const std::string& all, Record& record) const {
  if (!all.starts_with(record.whole_prompt)) {
    return "the chat template writes the messages before an answer otherwise than without it: "
           "tools/prepare_data.py can tell them apart";
  }
  const size_t end = end_token_.empty() ? std::string::npos : all.rfind(end_token_);
  if (end == std::string::npos || end < record.whole_prompt.size() ||
      !base::trim(std::string_view(all).substr(end + end_token_.size())).empty()) {
    return concat("the chat template does not end an answer with the tokenizer's end token",
                  end_token_.empty() ? "" : " ", end_token_,
                  ": write the one that it ends answers with as eos_token in "
                  "tokenizer_config.json");
  }
  record.completion = all.substr(record.whole_prompt.size(), end - record.whole_prompt.size());
  if (base::trim(record.completion).empty())
    return concat("field \"", field_, "\": an empty answer");
  return {};
}

}  // namespace orrery::data
