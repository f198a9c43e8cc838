// BPE as tokenizer.json describes it: over bytes (GPT-2, Llama 3, Qwen and their like) or over
// characters with the bytes of those that have no token (Llama 2, Mistral, Gemma). The ids are
// those of the Hugging Face `tokenizers` library, which tests compare with. What the file asks for
// and this class lacks is refused by name when the file is opened.
//
// A text goes through: added tokens (matched as a whole), normalizer, added tokens that match
// normalised text, pre-tokenizer (pieces), BPE (each piece alone; pieces seen before are cached).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/data/tokenizer.h"

namespace orrery::data {

/// Whether a Hugging Face directory says how a conversation is written: chat_template.jinja or
/// chat_template of tokenizer_config.json. Throws ConfigError for files that are damaged.
bool has_chat_template(const std::filesystem::path& directory);

/// Throws ConfigError when a file of a tokenizer's directory is there and cannot be read: a
/// tokenizer that this program cannot run is another matter.
void check_tokenizer_files(const std::filesystem::path& directory);

class BpeTokenizer final : public Tokenizer {
 public:
  /// A Hugging Face directory, or its tokenizer.json. bos, eos and pad are those of
  /// tokenizer_config.json, else special_tokens_map.json, else generation_config.json, else
  /// config.json beside it; further end tokens are those of generation_config.json, or else of
  /// config.json. Throws ConfigError: a file that is missing, damaged or asks for what
  /// is not supported; no end token.
  static std::unique_ptr<BpeTokenizer> open(const std::filesystem::path& path);

  /// Of the text of a tokenizer.json alone; `name` stands in errors. Without end token, all special
  /// tokens are -1.
  static std::unique_ptr<BpeTokenizer> parse(std::string_view json, const std::string& name);

  ~BpeTokenizer() override;

  std::vector<int32_t> encode(std::string_view text) const override;
  bool begins_with_space() const override { return begins_with_space_; }
  int64_t count_at_most(std::string_view text) const override;
  /// encode(), and what the file's post-processor puts around it (a bos, usually).
  std::vector<int32_t> encode_with_special_tokens(std::string_view text) const;

  /// Without special tokens. Bytes that are no UTF-8 become U+FFFD: one for each piece that could
  /// have begun a character (replace_invalid_utf8); over characters one for each byte of the run.
  std::string decode(std::span<const int32_t> ids) const override;
  /// With the names of special tokens.
  std::string decode_all(std::span<const int32_t> ids) const;
  std::string_view bytes_of(int32_t id) const override;

  /// The entry of the vocabulary, in the file's spelling; nothing for an id of no token.
  std::optional<std::string> token(int32_t id) const;
  std::optional<int32_t> find(std::string_view token) const;

  int32_t vocab_size() const override;
  bool has_token(int32_t id) const override;
  /// Tokens that there are: fewer than vocab_size() when ids are left out.
  int32_t n_tokens() const;
  int32_t bos_id() const override { return bos_; }
  int32_t eos_id() const override { return eos_; }
  /// Of the post-processor; where tokenizer_config.json has add_bos_token, with bos or without it.
  std::vector<int32_t> template_tokens() const override { return template_tokens_; }
  std::vector<int32_t> eos_ids() const override;
  int32_t pad_id() const override { return pad_; }
  std::optional<ChatTemplateText> chat_template() const override;

 private:
  struct Parts;
  explicit BpeTokenizer(std::unique_ptr<Parts> parts);

  void encode_piece(std::string_view text, bool is_start, std::vector<int32_t>& ids) const;
  std::string text_of(std::span<const int32_t> ids, bool with_special) const;

  std::unique_ptr<Parts> parts_;
  std::filesystem::path folder_;  // empty: of a text alone
  bool begins_with_space_ = false;
  int32_t bos_ = -1;
  int32_t eos_ = -1;
  std::vector<int32_t> more_eos_;  // end answers as well
  int32_t pad_ = -1;
  std::vector<int32_t> template_tokens_;
};

}  // namespace orrery::data
