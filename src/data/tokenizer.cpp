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
  // Texts that an answer does not grow together with, in place of a prompt that it does.
  for (const std::string_view before : {prompt, std::string_view("\n"), std::string_view("a"),
                                        std::string_view("."), std::string_view("1")}) {
    const std::vector<int32_t> ids = tokenizer.encode(before);
    const std::vector<int32_t> both = tokenizer.encode(base::concat(before, answer));
    const bool are_kept =
        both.size() >= ids.size() && std::equal(ids.begin(), ids.end(), both.begin());
    if (are_kept) return {both.begin() + static_cast<std::ptrdiff_t>(ids.size()), both.end()};
  }
  return tokenizer.encode(answer);
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
