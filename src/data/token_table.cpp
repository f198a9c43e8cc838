#include "orrery/data/token_table.h"

#include <utility>  // move

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat
#include "orrery/data/utf8.h"
#include "token_file.h"

namespace orrery::data {

TokenTable::TokenTable(Parts parts, std::string name)
    : parts_(std::move(parts)), name_(std::move(name)) {}

std::unique_ptr<TokenTable> TokenTable::open(const std::string& path) {
  return TokenFile::open(path).read_table();
}

std::vector<int32_t> TokenTable::encode(std::string_view) const {
  throw ConfigError(
      base::concat("text cannot be tokenised with the table of ", name_),
      {.expected = "data sets that tools/tokenize.py has made, or a tokenizer that reads text",
       .got = "a data set of text",
       .advice = "tokenise that data set as well (tools/tokenize.py --help), or set "
                 "model.ROLE.tokenizer to a directory with a byte-level BPE tokenizer.json"});
}

std::string TokenTable::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += bytes_of(id);
  return replace_invalid_utf8(std::move(text));
}

std::string_view TokenTable::bytes_of(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  const auto at = static_cast<std::size_t>(id);
  if (parts_.is_special[at]) return {};
  const auto begin = static_cast<std::size_t>(parts_.offsets[at]);
  return std::string_view(parts_.bytes)
      .substr(begin, static_cast<std::size_t>(parts_.offsets[at + 1]) - begin);
}

}  // namespace orrery::data
