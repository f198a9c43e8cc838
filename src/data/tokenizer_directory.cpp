// Opening the tokenizer of a Hugging Face directory, and which of its tokens are the special ones.

#include <array>

#include "orrery/base/error.h"
#include "orrery/base/file.h"  // read_file
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/chat_template.h"

namespace orrery::data {

namespace fs = std::filesystem;

namespace {

using base::concat;
using nlohmann::json;

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

std::string content_of(const fs::path& file) {
  try {
    return base::read_file(file, kMaxFileBytes);
  } catch (const OutputError& problem) {
    throw ConfigError(problem.what());
  }
}

bool is_there(const fs::path& file) {
  try {
    return base::exists(file);
  } catch (const OutputError& problem) {
    throw ConfigError(problem.what());
  }
}

/// Where bos, eos and pad are looked for, in this order.
constexpr const char* kMarkFiles[] = {"tokenizer_config.json", "special_tokens_map.json",
                                      "generation_config.json", "config.json"};

/// A file beside tokenizer.json that need not be there; null then.
json beside(const fs::path& folder, const char* name) {
  if (!is_there(folder / name)) return {};
  const std::string text = content_of(folder / name);
  auto [root, problem] = base::parse_json(text);
  if (!root.is_object()) {
    throw ConfigError(concat((folder / name).string(), " is no JSON object"),
                      {.expected = "an object { ... }",
                       .got = problem.empty() ? root.type_name() : problem,
                       .advice = "is the file whole? copy it again"});
  }
  return root;
}

/// The numbers under `special_token`_token_id, one or a list, that are tokens.
std::vector<int32_t> ids_in(const json& root, const std::string& special_token,
                            const BpeTokenizer& tokenizer) {
  std::vector<int32_t> ids;
  const auto field = root.find(special_token + "_token_id");
  if (field == root.end()) return ids;
  const json list = field->is_array() ? *field : json::array({*field});
  for (const json& id : list) {
    if (!id.is_number_integer()) continue;
    const auto value = id.get<int64_t>();
    if (value < 0 || value >= tokenizer.vocab_size()) continue;
    if (tokenizer.token(static_cast<int32_t>(value))) ids.push_back(static_cast<int32_t>(value));
  }
  return ids;
}

/// The id that `root` gives for a special token: its text under `text_key`, or its number under
/// `id_key`.
std::optional<int32_t> special_token_in(const json& root, const std::string& special_token,
                                        const BpeTokenizer& tokenizer) {
  if (!root.is_object()) return std::nullopt;
  if (const auto text = root.find(special_token + "_token"); text != root.end()) {
    const json* content = &*text;
    if (content->is_object() && content->contains("content")) content = &(*content)["content"];
    if (content->is_string()) return tokenizer.find(content->get<std::string>());
  }
  const std::vector<int32_t> ids = ids_in(root, special_token, tokenizer);
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

}  // namespace

bool has_chat_template(const fs::path& directory) {
  for (const char* name : {"chat_template.jinja", "chat_template.json", "chat_templates"}) {
    if (is_there(directory / name)) return true;
  }
  const json root = beside(directory, "tokenizer_config.json");
  return root.is_object() && root.contains("chat_template") && !root["chat_template"].is_null();
}

namespace {

/// A text, or the `content` of an object, as special tokens are written.
std::optional<std::string> text_in(const json& root, const std::string& key) {
  const auto field = root.find(key);
  if (field == root.end()) return std::nullopt;
  const json& content =
      field->is_object() && field->contains("content") ? (*field)["content"] : *field;
  if (!content.is_string()) return std::nullopt;
  return content.get<std::string>();
}

/// One text, or the one of a list of named ones that is named `default`.
std::optional<std::string> default_template(const json& root) {
  const auto field = root.find("chat_template");
  if (field == root.end()) return std::nullopt;
  if (field->is_string()) return field->get<std::string>();
  if (!field->is_array()) return std::nullopt;
  for (const json& one : *field) {
    if (one.is_object() && text_in(one, "name") == "default") return text_in(one, "template");
  }
  return std::nullopt;
}

}  // namespace

std::optional<ChatTemplateText> read_chat_template(const fs::path& directory) {
  ChatTemplateText chat{.origin = (directory / "tokenizer_config.json").string(), .text = {}};
  const json root = beside(directory, "tokenizer_config.json");
  std::optional<std::string> text = root.is_object() ? default_template(root) : std::nullopt;
  if (is_there(directory / "chat_template.jinja")) {
    chat.origin = (directory / "chat_template.jinja").string();
    text = content_of(directory / "chat_template.jinja");
  }
  if (!text) return std::nullopt;
  chat.text = std::move(*text);
  const json others = beside(directory, "special_tokens_map.json");
  for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    for (const json* file : {&root, &others}) {
      if (!file->is_object() || chat.special_tokens.contains(name)) continue;
      if (const auto token = text_in(*file, name)) chat.special_tokens[name] = *token;
    }
  }
  return chat;
}

void check_tokenizer_files(const fs::path& directory) {
  const auto check = [&](const char* name) {
    if (is_there(directory / name)) content_of(directory / name);
  };
  check("tokenizer.json");
  for (const char* name : kMarkFiles) check(name);
}

std::unique_ptr<BpeTokenizer> BpeTokenizer::open(const fs::path& path) {
  const fs::path file = base::is_folder(path) ? path / "tokenizer.json" : path;
  if (!is_there(file)) {
    throw ConfigError(concat("no tokenizer in ", path.string()),
                      {.expected = "a file tokenizer.json (byte-level BPE)",
                       .got = "none",
                       .advice = "save the model's fast tokenizer there: "
                                 "AutoTokenizer.from_pretrained(...).save_pretrained(DIR)"});
  }
  std::unique_ptr<BpeTokenizer> tokenizer = parse(content_of(file), file.string());
  const fs::path folder = file.parent_path();
  tokenizer->folder_ = folder;
  std::optional<bool> adds_bos;
  std::vector<int32_t> end_tokens;  // of the first file that is there and says so
  for (const char* name : kMarkFiles) {
    const json root = beside(folder, name);
    for (const auto& [special_token, id] :
         {std::pair{"bos", &tokenizer->bos_}, std::pair{"eos", &tokenizer->eos_},
          std::pair{"pad", &tokenizer->pad_}}) {
      if (*id < 0) *id = special_token_in(root, special_token, *tokenizer).value_or(-1);
    }
    if (!adds_bos && root.is_object() && root.contains("add_bos_token") &&
        root["add_bos_token"].is_boolean()) {
      adds_bos = root["add_bos_token"].get<bool>();
    }
    if (end_tokens.empty() && root.is_object()) end_tokens = ids_in(root, "eos", *tokenizer);
  }
  if (tokenizer->eos_ < 0) {
    throw ConfigError(
        concat("the tokenizer of ", folder.string(), " has no end token"),
        {.expected =
             "eos_token in tokenizer_config.json, or eos_token_id in generation_config.json "
             "or config.json",
         .got = "none that is in the vocabulary",
         .advice = "add a tokenizer_config.json with {\"eos_token\": \"<the token>\"}"});
  }
  for (const int32_t id : end_tokens) {
    if (id != tokenizer->eos_) tokenizer->more_eos_.push_back(id);
  }
  if (adds_bos && tokenizer->bos_ >= 0) {
    std::vector<int32_t>& special_tokens = tokenizer->template_tokens_;
    std::erase(special_tokens, tokenizer->bos_);
    if (*adds_bos) special_tokens.insert(special_tokens.begin(), tokenizer->bos_);
  }
  if (tokenizer->bos_ < 0) tokenizer->bos_ = tokenizer->eos_;
  if (tokenizer->pad_ < 0) tokenizer->pad_ = tokenizer->eos_;
  return tokenizer;
}

std::optional<ChatTemplateText> BpeTokenizer::chat_template() const {
  return folder_.empty() ? std::nullopt : read_chat_template(folder_);
}

}  // namespace orrery::data
