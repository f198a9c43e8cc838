// Expressions of chat templates: the part of Jinja that says which text stands around a message.
// Values are JSON, as the messages are. What this part lacks is refused by name when it is reached,
// not before: templates have branches for tools that a conversation without tools never enters.
// Private to src/data. An expression is immutable: any thread.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/data/chat_template.h"  // ChatTemplateError

namespace orrery::data {

/// Names and what they stand for, the innermost block last.
class ChatScope {
 public:
  using Value = nlohmann::json;

  /// Undefined where nothing has that name.
  Value find(const std::string& name) const;
  void set(const std::string& name, Value value) { blocks_.back()[name] = std::move(value); }
  void enter() { blocks_.emplace_back(); }
  void leave() { blocks_.pop_back(); }

 private:
  std::vector<std::map<std::string, Value>> blocks_ = std::vector<std::map<std::string, Value>>(1);
};

/// What Jinja has for a name or a field that there is not.
inline nlohmann::json undefined_value() {
  return nlohmann::json(nlohmann::json::value_t::discarded);
}

/// As Python has it: empty texts and lists, 0, none and what is undefined are false.
bool is_true(const nlohmann::json& value);

/// As `{{ value }}` prints it. Throws ChatTemplateError for lists and objects.
std::string printed(const nlohmann::json& value);

using ChatExpression = std::function<nlohmann::json(const ChatScope&)>;

/// Of the text between the marks of a block. One that cannot be read throws ChatTemplateError when
/// it is evaluated.
ChatExpression parse_chat_expression(std::string_view text);

}  // namespace orrery::data
