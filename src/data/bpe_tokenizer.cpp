#include "orrery/data/bpe_tokenizer.h"

#include <utf8proc.h>  // normal forms

#include <algorithm>  // max
#include <array>
#include <deque>
#include <unordered_map>
#include <utility>  // move

#include "added_tokens.h"
#include "bpe_merges.h"
#include "byte_alphabet.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat
#include "orrery/data/utf8.h"
#include "split_pattern.h"
#include "tokenizer_file.h"
#include "word_cache.h"

namespace orrery::data {

namespace {

using base::concat;

std::string normalized(std::string_view text, Normalization form) {
  int options = UTF8PROC_STABLE;
  switch (form) {
    case Normalization::kNfc:
      options |= UTF8PROC_COMPOSE;
      break;
    case Normalization::kNfd:
      options |= UTF8PROC_DECOMPOSE;
      break;
    case Normalization::kNfkc:
      options |= UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
      break;
    case Normalization::kNfkd:
      options |= UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
      break;
  }
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result,
                                             static_cast<utf8proc_option_t>(options));
  if (size < 0) return std::string(text);  // only if memory is short: the text is UTF-8
  std::string copy(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);  // utf8proc's rule
  return copy;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

struct Splitter {
  PreTokenizerStep step;
  std::optional<SplitPattern> pattern;
};

struct Entry {
  std::string token;  // the file's spelling
  std::string bytes;
  bool exists = false;
  bool is_special = false;
};

}  // namespace

struct BpeTokenizer::Parts {
  std::vector<Entry> entries;  // by id
  std::unordered_map<std::string, int32_t> ids;
  std::unordered_map<std::string_view, int32_t> ids_by_bytes;  // views into `entries`; if needed
  int32_t n_tokens = 0;
  std::array<int32_t, 256> byte_ids = {};  // -1: no token
  int32_t unknown = -1;
  bool fuses_unknown = false;
  bool ignores_merges = false;
  bool puts_spaces = false;  // before pieces
  std::optional<BpeMerges> merges;
  std::vector<Normalization> normalizations;
  std::vector<Splitter> splitters;
  std::optional<AddedTokenMatcher> added;             // in the text as written
  std::optional<AddedTokenMatcher> added_normalized;  // in the normalised text
  std::vector<int32_t> tokens_before;
  std::vector<int32_t> tokens_behind;
  mutable WordCache cache;

  Parts(TokenizerFile file, const std::string& name) {
    read_vocabulary(file, name);
    read_merges(file, name);
    read_added(file, name);
    for (PreTokenizerStep& step : file.pre_tokenizer) {
      Splitter splitter{.step = std::move(step), .pattern = std::nullopt};
      puts_spaces |= splitter.step.prefix_space != PreTokenizerStep::PrefixSpace::kNo;
      try {
        if (!splitter.step.pattern.empty()) splitter.pattern.emplace(splitter.step.pattern);
      } catch (const ConfigError& error) {
        throw ConfigError(concat(name, ": ", error.what()),
                          {.expected = {}, .got = {}, .advice = tokenize_beforehand(name)});
      }
      splitters.push_back(std::move(splitter));
    }
    for (const std::vector<int32_t>* special_tokens : {&file.tokens_before, &file.tokens_behind}) {
      for (const int32_t id : *special_tokens) {
        if (entry_of(id) == nullptr) fail(name, concat("post_processor names id ", id));
      }
    }
    tokens_before = std::move(file.tokens_before);
    tokens_behind = std::move(file.tokens_behind);
  }

  [[noreturn]] static void fail(const std::string& name, const std::string& problem) {
    throw ConfigError(concat(name, ": ", problem),
                      {.expected = "tokens of the vocabulary, each with an id of its own",
                       .got = {},
                       .advice = "is it the tokenizer.json of a Hugging Face model, and whole?"});
  }

  const Entry* entry_of(int32_t id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= entries.size()) return nullptr;
    const Entry& entry = entries[static_cast<std::size_t>(id)];
    return entry.exists ? &entry : nullptr;
  }

  Entry& new_entry(const std::string& token, int32_t id, const std::string& name) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= entries.size()) entries.resize(at + 1);
    Entry& entry = entries[at];
    if (entry.exists)
      fail(name, concat("id ", id, " is of two tokens, ", entry.token, " and ", token));
    std::optional<std::string> bytes = bytes_of_characters(token);
    entry = {.token = token,
             .bytes = bytes ? *std::move(bytes) : token,
             .exists = true,
             .is_special = false};
    ids.emplace(token, id);
    ++n_tokens;
    return entry;
  }

  void read_vocabulary(const TokenizerFile& file, const std::string& name) {
    ids.reserve(file.vocabulary.size() + file.added.size());
    int32_t last = -1;
    for (const auto& [token, id] : file.vocabulary) last = std::max(last, id);
    // A damaged id must not ask for a table of gigabytes; real files leave few ids out.
    const std::size_t most = 2 * file.vocabulary.size() + 65536;
    if (last >= 0 && static_cast<std::size_t>(last) >= most) {
      fail(name, concat("model.vocab: id ", last, " in a vocabulary of ", file.vocabulary.size()));
    }
    entries.resize(static_cast<std::size_t>(last + 1));
    for (const auto& [token, id] : file.vocabulary) new_entry(token, id, name);
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids.find(std::string(character_of_byte(static_cast<uint8_t>(byte))));
      byte_ids[static_cast<std::size_t>(byte)] = found == ids.end() ? -1 : found->second;
    }
    if (!file.unknown_token.empty()) {
      const auto found = ids.find(file.unknown_token);
      if (found != ids.end()) unknown = found->second;
    }
    fuses_unknown = file.fuses_unknown;
    ignores_merges = file.ignores_merges;
  }

  void read_merges(const TokenizerFile& file, const std::string& name) {
    merges.emplace(file.merges.size());
    const auto id_of = [&](const std::string& token, std::size_t at) {
      const auto found = ids.find(token);
      if (found == ids.end()) {
        fail(name,
             concat("model.merges, number ", at, ": token ", token, " is not in the vocabulary"));
      }
      return found->second;
    };
    for (std::size_t i = 0; i < file.merges.size(); ++i) {
      const auto& [left, right] = file.merges[i];
      merges->add(id_of(left, i), id_of(right, i), id_of(left + right, i));
    }
  }

  void read_added(const TokenizerFile& file, const std::string& name) {
    auto next_added = static_cast<int32_t>(file.vocabulary.size());
    std::vector<AddedToken> as_written;
    std::vector<AddedToken> in_normalized;
    for (AddedToken token : file.added) {
      if (token.content.empty()) continue;
      const auto known = ids.find(token.content);
      if (known != ids.end()) {
        token.id = known->second;
      } else {
        // As the library: the ids behind the vocabulary in this order, whatever the file says.
        token.id = next_added;
        new_entry(token.content, token.id, name);
      }
      next_added = std::max(next_added, token.id + 1);
      if (token.is_special) entries[static_cast<std::size_t>(token.id)].is_special = true;
      if (token.is_normalized && !file.normalizations.empty()) {
        // The library matches, and decodes to, the normal form of such a token.
        for (const Normalization form : file.normalizations) {
          token.content = normalized(token.content, form);
        }
        Entry& entry = entries[static_cast<std::size_t>(token.id)];
        entry.token = token.content;
        entry.bytes = bytes_of_characters(token.content).value_or(token.content);
      }
      (token.is_normalized ? in_normalized : as_written).push_back(std::move(token));
    }
    normalizations = file.normalizations;
    added.emplace(std::move(as_written));
    added_normalized.emplace(std::move(in_normalized));
    if (!ignores_merges) return;
    // Last of all: the entries do not move any more.
    for (const auto& [token, id] : file.vocabulary) {
      if (!bytes_of_characters(token)) continue;  // no text is spelled so
      ids_by_bytes.emplace(entries[static_cast<std::size_t>(id)].bytes, id);
    }
  }

  void encode_word(std::string_view word, std::vector<int32_t>& out) const {
    const bool is_cached = word.size() <= WordCache::kMaxWordBytes;
    if (is_cached && cache.append(word, out)) return;
    std::vector<int32_t> symbols;
    const auto whole = ignores_merges ? ids_by_bytes.find(word) : ids_by_bytes.end();
    if (whole != ids_by_bytes.end()) {
      symbols.push_back(whole->second);
    } else {
      symbols.reserve(word.size());
      bool after_unknown = false;
      for (const char byte : word) {
        const int32_t id = byte_ids[static_cast<uint8_t>(byte)];
        const bool is_unknown = id < 0;
        const bool is_fused = is_unknown && after_unknown && fuses_unknown;
        if (!is_unknown) symbols.push_back(id);
        if (is_unknown && unknown >= 0 && !is_fused) symbols.push_back(unknown);
        after_unknown = is_unknown;
      }
      merges->apply(symbols);
    }
    out.insert(out.end(), symbols.begin(), symbols.end());
    if (is_cached) cache.remember(word, symbols);
  }

  /// Splits normalised text without added tokens, and encodes the pieces.
  void encode_text(std::string_view text, std::vector<int32_t>& out) const {
    std::vector<std::string_view> pieces = {text};
    std::deque<std::string> with_space;  // what pieces with a space put before them view
    for (const Splitter& splitter : splitters) {
      if (splitter.step.prefix_space == PreTokenizerStep::PrefixSpace::kIfMissing) {
        for (std::string_view& piece : pieces) {
          if (!piece.starts_with(' ')) piece = with_space.emplace_back(concat(' ', piece));
        }
      }
      if (!splitter.pattern) continue;
      std::vector<std::string_view> finer;
      for (const std::string_view piece : pieces) {
        const std::vector<std::string_view> parts =
            split_text(piece, *splitter.pattern, splitter.step.behavior, splitter.step.invert);
        finer.insert(finer.end(), parts.begin(), parts.end());
      }
      pieces = std::move(finer);
    }
    for (const std::string_view piece : pieces) encode_word(piece, out);
  }
};

BpeTokenizer::BpeTokenizer(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)), template_tokens_(parts_->tokens_before) {}
BpeTokenizer::~BpeTokenizer() = default;

std::unique_ptr<BpeTokenizer> BpeTokenizer::parse(std::string_view json, const std::string& name) {
  return std::unique_ptr<BpeTokenizer>(
      new BpeTokenizer(std::make_unique<Parts>(TokenizerFile::parse(json, name), name)));
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::string repaired;
  if (first_invalid_utf8(text)) {
    repaired = replace_invalid_utf8(std::string(text));
    text = repaired;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3);
  for (const TextPart& part : parts_->added->parts(text)) {
    if (part.added_id) {
      ids.push_back(*part.added_id);
    } else {
      encode_piece(part.text, ids);
    }
  }
  return ids;
}

int64_t BpeTokenizer::count_at_most(std::string_view text) const {
  // Every token takes a byte of its own, and where spaces are put before pieces each piece may have
  // one more. Normal forms can be longer than the text.
  if (!parts_->normalizations.empty() && !is_ascii(text)) return count(text);
  return (parts_->puts_spaces ? 2 : 1) * static_cast<int64_t>(text.size());
}

void BpeTokenizer::encode_piece(std::string_view text, std::vector<int32_t>& ids) const {
  std::string composed;
  if (!parts_->normalizations.empty() && !is_ascii(text)) {
    composed = text;
    for (const Normalization form : parts_->normalizations) composed = normalized(composed, form);
    text = composed;
  }
  for (const TextPart& part : parts_->added_normalized->parts(text)) {
    if (part.added_id) {
      ids.push_back(*part.added_id);
    } else {
      parts_->encode_text(part.text, ids);
    }
  }
}

std::vector<int32_t> BpeTokenizer::encode_with_special_tokens(std::string_view text) const {
  std::vector<int32_t> ids = parts_->tokens_before;
  const std::vector<int32_t> inside = encode(text);
  ids.insert(ids.end(), inside.begin(), inside.end());
  ids.insert(ids.end(), parts_->tokens_behind.begin(), parts_->tokens_behind.end());
  return ids;
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += bytes_of(id);
  return replace_invalid_utf8(std::move(text));
}

std::string BpeTokenizer::decode_all(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (const Entry* entry = parts_->entry_of(id)) text += entry->bytes;
  }
  return replace_invalid_utf8(std::move(text));
}

std::string_view BpeTokenizer::bytes_of(int32_t id) const {
  const Entry* entry = parts_->entry_of(id);
  if (entry == nullptr || entry->is_special) return {};
  return entry->bytes;
}

std::optional<std::string> BpeTokenizer::token(int32_t id) const {
  const Entry* entry = parts_->entry_of(id);
  if (entry == nullptr) return std::nullopt;
  return entry->token;
}

std::optional<int32_t> BpeTokenizer::find(std::string_view token) const {
  const auto found = parts_->ids.find(std::string(token));
  if (found == parts_->ids.end()) return std::nullopt;
  return found->second;
}

std::vector<int32_t> BpeTokenizer::eos_ids() const {
  std::vector<int32_t> ids = {eos_};
  ids.insert(ids.end(), more_eos_.begin(), more_eos_.end());
  return ids;
}

int32_t BpeTokenizer::vocab_size() const { return static_cast<int32_t>(parts_->entries.size()); }
bool BpeTokenizer::has_token(int32_t id) const { return parts_->entry_of(id) != nullptr; }
int32_t BpeTokenizer::n_tokens() const { return parts_->n_tokens; }

}  // namespace orrery::data
