// Opening the tokenizer of a Hugging Face directory, and which of its tokens are the marks.

#include <array>
#include <nlohmann/json.hpp>

#include "orrery/base/error.h"
#include "orrery/base/file.h"  // read_file
#include "orrery/base/text.h"
#include "orrery/data/bpe_tokenizer.h"

namespace orrery::data {

namespace fs = std::filesystem;

namespace {

using base::concat;
using nlohmann::json;

constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 30;

std::string content_of(const fs::path& file) {
  std::error_code error;
  const uintmax_t size = fs::file_size(file, error);
  if (!error && size > kMaxFileBytes) {
    throw ConfigError(concat("tokenizer file ", file.string(), " is too large"),
                      {.expected = concat("at most ", kMaxFileBytes, " bytes"),
                       .got = concat(size),
                       .advice = "is it a tokenizer.json?"});
  }
  try {
    return base::read_file(file);
  } catch (const OutputError& problem) {
    throw ConfigError(problem.what());
  }
}

/// A file beside tokenizer.json that need not be there; null then.
json beside(const fs::path& folder, const char* name) {
  std::error_code error;
  if (!fs::exists(folder / name, error)) return {};
  const std::string text = content_of(folder / name);
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) {
    throw ConfigError(concat((folder / name).string(), " is no JSON object"),
                      {.expected = "an object { ... }",
                       .got = root.is_discarded() ? "no JSON" : root.type_name(),
                       .advice = "is the file whole? copy it again"});
  }
  return root;
}

/// The id that `root` gives for a mark: its text under `text_key`, or its number under `id_key`.
std::optional<int32_t> mark_in(const json& root, const std::string& mark,
                               const BpeTokenizer& tokenizer) {
  if (!root.is_object()) return std::nullopt;
  if (const auto text = root.find(mark + "_token"); text != root.end()) {
    const json* content = &*text;
    if (content->is_object() && content->contains("content")) content = &(*content)["content"];
    if (content->is_string()) return tokenizer.find(content->get<std::string>());
  }
  if (const auto number = root.find(mark + "_token_id"); number != root.end()) {
    const json* id = &*number;
    if (id->is_array() && !id->empty()) id = &(*id)[0];
    if (id->is_number_integer() && tokenizer.token(static_cast<int32_t>(id->get<int64_t>()))) {
      return static_cast<int32_t>(id->get<int64_t>());
    }
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<BpeTokenizer> BpeTokenizer::open(const fs::path& path) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? path / "tokenizer.json" : path;
  if (!fs::exists(file, error)) {
    throw ConfigError(concat("no tokenizer in ", path.string()),
                      {.expected = "a file tokenizer.json (byte-level BPE)",
                       .got = "none",
                       .advice = "save the model's fast tokenizer there: "
                                 "AutoTokenizer.from_pretrained(...).save_pretrained(DIR)"});
  }
  std::unique_ptr<BpeTokenizer> tokenizer = parse(content_of(file), file.string());
  const fs::path folder = file.parent_path();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json", "config.json"}) {
    const json root = beside(folder, name);
    for (const auto& [mark, id] :
         {std::pair{"bos", &tokenizer->bos_}, std::pair{"eos", &tokenizer->eos_},
          std::pair{"pad", &tokenizer->pad_}}) {
      if (*id < 0) *id = mark_in(root, mark, *tokenizer).value_or(-1);
    }
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
  if (tokenizer->bos_ < 0) tokenizer->bos_ = tokenizer->eos_;
  if (tokenizer->pad_ < 0) tokenizer->pad_ = tokenizer->eos_;
  return tokenizer;
}

}  // namespace orrery::data
