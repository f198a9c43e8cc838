// How a model's conversations are written: the template of its directory (chat_template.jinja, or
// chat_template of tokenizer_config.json), rendered as apply_chat_template of `transformers` does.
// Of Jinja it takes what templates need that put texts around messages: conditions on roles and
// places, loops over messages, variables. Tools, dates, macros and namespaces are refused by name:
// tools/prepare_data.py renders any template.
// Immutable: any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "orrery/base/error.h"

namespace orrery::data {

/// Why a conversation cannot be written by its template, in words for the person who has the data.
class ChatTemplateError : public Error {
 public:
  using Error::Error;
};

/// The text of a template, and the names in it that stand for special tokens (bos_token, ...).
struct ChatTemplateText {
  std::string origin;  // the file, for messages
  std::string text;
  std::map<std::string, std::string> special_tokens = {};
};

/// Of a Hugging Face directory; nothing where it has none. Throws ConfigError for files that are
/// damaged.
std::optional<ChatTemplateText> read_chat_template(const std::filesystem::path& directory);

enum class GenerationPrompt { kNone, kAdd };

class ChatTemplate {
 public:
  /// Throws ConfigError naming the file where blocks do not fit together.
  explicit ChatTemplate(ChatTemplateText text);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  /// `messages`: a list of objects. Throws ChatTemplateError.
  std::string render(const nlohmann::json& messages, GenerationPrompt prompt) const;

 private:
  struct Block;
  ChatTemplateText text_;
  std::unique_ptr<const Block> root_;
};

}  // namespace orrery::data
