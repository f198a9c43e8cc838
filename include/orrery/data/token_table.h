// The tokenizer of a run whose texts were tokenised beforehand (tools/tokenize.py): it knows the
// bytes of every id and the special tokens, and turns ids into text. It cannot turn text into ids.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class TokenTable final : public Tokenizer {
 public:
  struct Parts {
    std::string bytes;             // of all tokens, one behind another
    std::vector<int64_t> offsets;  // token i has bytes [offsets[i], offsets[i + 1])
    std::vector<bool> is_special;  // by id: gives no text
    int32_t bos = -1;
    std::vector<int32_t> eos;  // the first one ends answers to learn
    int32_t pad = -1;
  };

  /// `parts` fit together. `name` stands in errors.
  TokenTable(Parts parts, std::string name);

  /// That of a pre-tokenized dataset. Throws DataError.
  static std::unique_ptr<TokenTable> open(const std::string& path);

  /// Throws ConfigError: what was not tokenised beforehand needs another tokenizer.
  std::vector<int32_t> encode(std::string_view text) const override;
  /// Without special tokens. Bytes that are no UTF-8 become U+FFFD (replace_invalid_utf8).
  std::string decode(std::span<const int32_t> ids) const override;
  std::string_view bytes_of(int32_t id) const override;

  int32_t vocab_size() const override { return static_cast<int32_t>(parts_.offsets.size()) - 1; }
  /// An id that is no special token and has no text: tools/tokenize.py leaves those without a token
  /// so.
  bool has_token(int32_t id) const override {
    return parts_.is_special[base::index(id)] || !bytes_of(id).empty();
  }
  int32_t bos_id() const override { return parts_.bos; }
  int32_t eos_id() const override { return parts_.eos.front(); }
  std::vector<int32_t> eos_ids() const override { return parts_.eos; }
  int32_t pad_id() const override { return parts_.pad; }

 private:
  Parts parts_;
  std::string name_;
};

}  // namespace orrery::data
