// Text to token ids and back. A tokenizer is immutable: any thread may use it at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/data/chat_template.h"

namespace orrery::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of a text, without special tokens at either end. Names of special tokens in the text give
  /// these tokens, where the tokenizer has such names.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// Whether encode() puts a space before a text: the text is the beginning of one.
  virtual bool begins_with_space() const { return false; }
  /// How many ids encode(text) has.
  virtual int64_t count(std::string_view text) const;
  /// A number that is cheap to have and that count(text) does not exceed, if there is one; else
  /// count(text). `text` is UTF-8.
  virtual int64_t count_at_most(std::string_view text) const { return count(text); }
  /// The text of these ids. Special tokens (bos, eos, pad) and ids of no token give nothing.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// The bytes of one token, perhaps a part of a character; none for special tokens and ids of no
  /// token.
  virtual std::string_view bytes_of(int32_t id) const = 0;

  /// Ids are in [0, vocab_size).
  virtual int32_t vocab_size() const = 0;
  /// Whether this id of [0, vocab_size) is a token, be it a special one: a vocabulary may leave ids
  /// out.
  virtual bool has_token(int32_t /*id*/) const { return true; }
  virtual int32_t bos_id() const = 0;
  /// What the tokenizer's own template puts before a text, such as its beginning-of-sequence token;
  /// often nothing.
  virtual std::vector<int32_t> template_tokens() const { return {}; }
  /// The end token that examples to learn from get.
  virtual int32_t eos_id() const = 0;
  /// All tokens that end an answer, eos_id() first: chat models have several.
  virtual std::vector<int32_t> eos_ids() const { return {eos_id()}; }
  virtual int32_t pad_id() const = 0;
  /// How its model's conversations are written; nothing where its files do not say so. Reads them.
  /// Throws ConfigError for files that are damaged.
  virtual std::optional<ChatTemplateText> chat_template() const { return std::nullopt; }
};

/// Every byte is a token: ids 0 to 255, then bos 256, eos 257, pad 258.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256;
  static constexpr int32_t kEos = 257;
  static constexpr int32_t kPad = 258;
  static constexpr int32_t kVocabSize = 259;

  std::vector<int32_t> encode(std::string_view text) const override;
  int64_t count(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::string_view bytes_of(int32_t id) const override;
  int32_t vocab_size() const override { return kVocabSize; }
  int32_t bos_id() const override { return kBos; }
  int32_t eos_id() const override { return kEos; }
  int32_t pad_id() const override { return kPad; }
};

/// `byte`, the path of a Hugging Face directory (or of its tokenizer.json): BPE, or that
/// of a pre-tokenized dataset: its TokenTable. Throws ConfigError or DataError naming the
/// tokenizers that there are, or what is wrong with the files.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name);

/// The ids of an answer as they stand behind its prompt: without a space that a text alone would
/// begin with. Where a token would span both, the prompt keeps its own and the answer is tokenised
/// as behind a text that it shares no token with.
std::vector<int32_t> encode_behind(const Tokenizer& tokenizer, std::string_view prompt,
                                   std::string_view answer);

/// The ids of [0, n_ids) that are no token of `tokenizer`, ascending: those that its vocabulary
/// leaves out, and those of an embedding that was padded beyond it.
std::vector<int64_t> ids_without_token(const Tokenizer& tokenizer, int64_t n_ids);

}  // namespace orrery::data
