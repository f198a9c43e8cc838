#include "orrery/data/tokenizer.h"

#include <algorithm>  // equal
#include <array>
#include <filesystem>
#include <utility>  // exchange

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/file.h"   // exists
#include "orrery/base/text.h"   // concat
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/token_index.h"  // is_token_file
#include "orrery/data/token_table.h"
#include "orrery/data/utf8.h"

namespace orrery::data {

namespace {

constexpr std::array<char, 256> all_bytes() {
  std::array<char, 256> bytes = {};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}
constexpr std::array<char, 256> kAllBytes = all_bytes();

}  // namespace

int64_t Tokenizer::count(std::string_view text) const {
  return static_cast<int64_t>(encode(text).size());
}

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

int64_t ByteTokenizer::count(std::string_view text) const {
  return static_cast<int64_t>(text.size());
}

std::string ByteTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  text.reserve(ids.size());
  for (const int32_t id : ids) text += bytes_of(id);
  return text;
}

std::string_view ByteTokenizer::bytes_of(int32_t id) const {
  if (id < 0 || id >= 256) return {};
  return {kAllBytes.data() + id, 1};
}

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  const std::string path(name);
  if (base::is_file(path) && is_token_file(path)) return TokenTable::open(path);
  if (base::exists(path)) return BpeTokenizer::open(name);
  throw ConfigError(
      base::concat("unknown tokenizer ", name),
      {.expected =
           "byte, a Hugging Face directory with a tokenizer.json, or a pre-tokenized dataset",
       .got = std::string(name),
       .advice =
           "set tokenizer = byte, or the path of the directory, in the section of the model"});
}

std::vector<int32_t> encode_behind(const Tokenizer& tokenizer, std::string_view prompt,
                                   std::string_view answer) {
  if (!tokenizer.begins_with_space()) return tokenizer.encode(answer);
  const std::vector<int32_t> prompt_ids = tokenizer.encode(prompt);
  const std::vector<int32_t> both = tokenizer.encode(base::concat(prompt, answer));
  const bool keeps_prompt = both.size() >= prompt_ids.size() &&
                            std::equal(prompt_ids.begin(), prompt_ids.end(), both.begin());
  if (!keeps_prompt) return tokenizer.encode(answer);
  return {both.begin() + static_cast<std::ptrdiff_t>(prompt_ids.size()), both.end()};
}

std::vector<int64_t> ids_without_token(const Tokenizer& tokenizer, int64_t n_ids) {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < n_ids; ++id) {
    if (id >= tokenizer.vocab_size() || !tokenizer.has_token(static_cast<int32_t>(id))) {
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace orrery::data
