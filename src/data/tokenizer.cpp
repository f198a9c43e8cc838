#include "orrery/data/tokenizer.h"

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

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
  for (const int32_t id : ids) {
    if (id >= 0 && id < 256) text.push_back(static_cast<char>(id));
  }
  return text;
}

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  throw ConfigError(base::concat("unknown tokenizer ", name),
                    {.expected = "byte",
                     .got = std::string(name),
                     .advice = "set tokenizer = byte in the section of the model"});
}

}  // namespace orrery::data
