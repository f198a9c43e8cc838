#include "orrery/data/bpe_tokenizer.h"

#include <algorithm>  // max
#include <array>
#include <deque>
#include <unordered_map>
#include <utility>  // exchange, move

#include "added_tokens.h"
#include "bpe_merges.h"
#include "byte_alphabet.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat
#include "orrery/data/utf8.h"
#include "split_pattern.h"
#include "text_normalizer.h"
#include "token_decoder.h"
#include "tokenizer_file.h"
#include "word_cache.h"

namespace orrery::data {

namespace {

using base::concat;

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

struct Splitter {
  PreTokenizerStep step;
  std::optional<SplitPattern> pattern;
};

/// The length of the UTF-8 character at `at` of a text that is UTF-8.
std::size_t character_size(std::string_view text, std::size_t at) {
  std::size_t size = 1;
  while (at + size < text.size() && (static_cast<uint8_t>(text[at + size]) & 0xc0) == 0x80) ++size;
  return size;
}

struct Entry {
  std::string token;  // the file's spelling
  std::string bytes;  // what it adds to a text
  bool exists = false;
  bool is_special = false;
};

}  // namespace

struct BpeTokenizer::Parts {
  std::vector<Entry> entries;  // by id
  std::unordered_map<std::string, int32_t> ids;
  std::unordered_map<std::string_view, int32_t> whole_words;  // views of the above; if needed
  int32_t n_tokens = 0;
  bool is_byte_level = true;
  /// -1: no token. Of a byte in the alphabet of bytes, or of "<0x0A>" where there is byte fallback.
  std::array<int32_t, 256> byte_ids = {};
  std::unordered_map<std::string_view, int32_t> characters;  // of character-level files
  std::optional<TokenDecoder> decoder;                       // likewise
  int32_t unknown = -1;
  bool fuses_unknown = false;
  bool ignores_merges = false;
  bool puts_spaces = false;  // before pieces
  std::string space_symbol;  // in place of spaces, in pieces
  std::optional<BpeMerges> merges;
  std::optional<TextNormalizer> normalizer;
  std::vector<Splitter> splitters;
  std::optional<AddedTokenMatcher> added;             // in the text as written
  std::optional<AddedTokenMatcher> added_normalized;  // in the normalised text
  std::vector<int32_t> tokens_before;
  std::vector<int32_t> tokens_behind;
  mutable WordCache cache;

  Parts(TokenizerFile file, const std::string& name) {
    is_byte_level = file.is_byte_level;
    compile_patterns(file, name);
    read_vocabulary(file, name);
    read_merges(file, name);
    read_added(file, name);
    for (const std::vector<int32_t>* special_tokens : {&file.tokens_before, &file.tokens_behind}) {
      for (const int32_t id : *special_tokens) {
        if (entry_of(id) == nullptr) fail(name, concat("post_processor names id ", id));
      }
    }
    tokens_before = std::move(file.tokens_before);
    tokens_behind = std::move(file.tokens_behind);
  }

  void compile_patterns(TokenizerFile& file, const std::string& name) {
    try {
      normalizer.emplace(file.normalizer);
      if (!is_byte_level) decoder.emplace(file.decoder);
      for (PreTokenizerStep& step : file.pre_tokenizer) {
        Splitter splitter{.step = std::move(step), .pattern = std::nullopt};
        puts_spaces |= splitter.step.prefix_space != PreTokenizerStep::PrefixSpace::kNo;
        if (!splitter.step.space_symbol.empty()) space_symbol = splitter.step.space_symbol;
        if (!splitter.step.pattern.empty()) splitter.pattern.emplace(splitter.step.pattern);
        splitters.push_back(std::move(splitter));
      }
    } catch (const ConfigError& error) {
      throw ConfigError(concat(name, ": ", error.what()),
                        {.expected = {}, .got = {}, .advice = tokenize_beforehand(name)});
    }
  }

  /// What a token of this spelling adds to a text.
  std::string bytes_of_token(const std::string& token) const {
    return is_byte_level ? bytes_of_characters(token).value_or(token) : decoder->bytes_of(token);
  }

  [[noreturn]] static void fail(const std::string& name, const std::string& problem) {
    throw ConfigError(concat(name, ": ", problem),
                      {.expected = "tokens of the vocabulary, each with an id of its own",
                       .got = {},
                       .advice = "is it the tokenizer.json of a Hugging Face model, and whole?"});
  }

  const Entry* entry_of(int32_t id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= entries.size()) return nullptr;
    const Entry& entry = entries[base::index(id)];
    return entry.exists ? &entry : nullptr;
  }

  Entry& new_entry(const std::string& token, int32_t id, const std::string& name) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= entries.size()) entries.resize(at + 1);
    Entry& entry = entries[at];
    if (entry.exists)
      fail(name, concat("id ", id, " is of two tokens, ", entry.token, " and ", token));
    entry = {.token = token, .bytes = bytes_of_token(token), .exists = true, .is_special = false};
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
      const auto value = static_cast<uint8_t>(byte);
      const auto found =
          ids.find(is_byte_level ? std::string(character_of_byte(value)) : token_of_byte(value));
      const bool is_used = is_byte_level || file.has_byte_fallback;
      byte_ids[value] = found == ids.end() || !is_used ? -1 : found->second;
    }
    if (!file.unknown_token.empty()) {
      const auto found = ids.find(file.unknown_token);
      if (found != ids.end()) unknown = found->second;
    }
    fuses_unknown = file.fuses_unknown;
    ignores_merges = file.ignores_merges;
    if (is_byte_level) return;
    for (const auto& [token, id] : ids) {
      if (!token.empty() && character_size(token, 0) == token.size()) characters.emplace(token, id);
    }
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
      if (token.is_special) entries[base::index(token.id)].is_special = true;
      if (token.is_normalized && !normalizer->empty()) {
        // The library matches, and decodes to, the normal form of such a token.
        token.content = normalizer->apply(token.content);
        Entry& entry = entries[base::index(token.id)];
        entry.token = token.content;
        entry.bytes = bytes_of_token(token.content);
      }
      (token.is_normalized ? in_normalized : as_written).push_back(std::move(token));
    }
    added.emplace(std::move(as_written));
    added_normalized.emplace(std::move(in_normalized));
    if (!ignores_merges) return;
    // Last of all: the entries do not move any more.
    for (const auto& [token, id] : file.vocabulary) {
      if (!is_byte_level) {
        whole_words.emplace(ids.find(token)->first, id);
      } else if (bytes_of_characters(token)) {  // else no text is spelled so
        whole_words.emplace(entries[base::index(id)].bytes, id);
      }
    }
  }

  void bytes_to(std::vector<int32_t>& symbols, std::string_view word) const {
    bool after_unknown = false;
    for (const char byte : word) {
      const int32_t id = byte_ids[static_cast<uint8_t>(byte)];
      const bool is_unknown = id < 0;
      const bool is_fused = is_unknown && after_unknown && fuses_unknown;
      if (!is_unknown) symbols.push_back(id);
      if (is_unknown && unknown >= 0 && !is_fused) symbols.push_back(unknown);
      after_unknown = is_unknown;
    }
  }

  void characters_to(std::vector<int32_t>& symbols, std::string_view word) const {
    // As the library: an unknown token waits for the next known character, so that it comes behind
    // the bytes of those between, and fuses with unknown ones behind them.
    bool waits = false;
    const auto end_unknown = [&] {
      if (std::exchange(waits, false)) symbols.push_back(unknown);
    };
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, character_size(word, at));
      at += character.size();
      const auto known = characters.find(character);
      if (known != characters.end()) {
        end_unknown();
        symbols.push_back(known->second);
      } else if (std::all_of(character.begin(), character.end(), [&](char byte) {
                   return byte_ids[static_cast<uint8_t>(byte)] >= 0;
                 })) {
        for (const char byte : character) symbols.push_back(byte_ids[static_cast<uint8_t>(byte)]);
      } else if (unknown >= 0) {
        if (!fuses_unknown) end_unknown();
        waits = true;
      }
    }
    end_unknown();
  }

  void encode_word(std::string_view word, std::vector<int32_t>& out) const {
    const bool is_cached = word.size() <= WordCache::kMaxWordBytes;
    if (is_cached && cache.append(word, out)) return;
    std::vector<int32_t> symbols;
    const auto whole = ignores_merges ? whole_words.find(word) : whole_words.end();
    if (whole != whole_words.end()) {
      symbols.push_back(whole->second);
    } else {
      symbols.reserve(word.size());
      is_byte_level ? bytes_to(symbols, word) : characters_to(symbols, word);
      merges->apply(symbols);
    }
    out.insert(out.end(), symbols.begin(), symbols.end());
    if (is_cached) cache.remember(word, symbols);
  }

  /// Splits normalised text without added tokens, and encodes the pieces. `is_start`: the text
  /// begins with it.
  void encode_text(std::string_view text, bool is_start, std::vector<int32_t>& out) const {
    using PrefixSpace = PreTokenizerStep::PrefixSpace;
    std::vector<std::string_view> pieces = {text};
    std::deque<std::string> changed;  // what pieces that were changed view
    for (const auto& [step, pattern] : splitters) {
      const std::string symbol = step.space_symbol.empty() ? " " : step.space_symbol;
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        std::string_view& piece = pieces[i];
        if (!step.space_symbol.empty() && piece.find(' ') != std::string_view::npos) {
          piece = changed.emplace_back(with_symbols(piece, symbol));
        }
        const bool has_prefix =
            step.prefix_space == PrefixSpace::kIfMissing ||
            (step.prefix_space == PrefixSpace::kIfMissingAtStart && is_start && i == 0);
        if (has_prefix && !piece.starts_with(symbol)) {
          piece = changed.emplace_back(concat(symbol, piece));
        }
      }
      if (!pattern) continue;
      std::vector<std::string_view> finer;
      const char* const start = pieces.empty() ? nullptr : pieces.front().data();
      for (const std::string_view piece : pieces) {
        const std::vector<std::string_view> parts =
            split_text(piece, *pattern, step.behavior, step.invert);
        finer.insert(finer.end(), parts.begin(), parts.end());
      }
      pieces = std::move(finer);
      is_start = is_start && !pieces.empty() && pieces.front().data() == start;
    }
    for (const std::string_view piece : pieces) encode_word(piece, out);
  }

  static std::string with_symbols(std::string_view text, std::string_view symbol) {
    std::string result;
    for (const char c : text) {
      if (c == ' ') {
        result += symbol;
      } else {
        result += c;
      }
    }
    return result;
  }

  /// How many symbols a text is before merges.
  int64_t n_symbols(std::string_view text) const {
    if (is_byte_level) return static_cast<int64_t>(text.size());
    std::vector<int32_t> symbols;
    characters_to(symbols, text);
    return static_cast<int64_t>(symbols.size());
  }
};

BpeTokenizer::BpeTokenizer(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)), template_tokens_(parts_->tokens_before) {}
BpeTokenizer::~BpeTokenizer() = default;

std::unique_ptr<BpeTokenizer> BpeTokenizer::parse(std::string_view json, const std::string& name) {
  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(std::make_unique<Parts>(TokenizerFile::parse(json, name), name)));
  const std::vector<int32_t> letter = tokenizer->encode("x");
  const std::string first = letter.empty() ? "" : tokenizer->token(letter.front()).value_or("");
  // As a space is written over characters, and over bytes.
  tokenizer->begins_with_space_ = first.starts_with("\u2581") || first.starts_with("\u0120");
  return tokenizer;
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
      encode_piece(part.text, part.text.data() == text.data(), ids);
    }
  }
  return ids;
}

int64_t BpeTokenizer::count_at_most(std::string_view text) const {
  // Every token takes a byte of its own; where something is put before pieces or in place of
  // spaces they have more. Normal forms can be longer than the text.
  if (parts_->normalizer->has_unicode_form() && !is_ascii(text)) return count(text);
  const auto n = static_cast<int64_t>(text.size());
  const auto cost = [this](std::string_view inserted) { return parts_->n_symbols(inserted); };
  const int64_t most = parts_->normalizer->symbols_at_most(n, n, cost);
  const int64_t space =
      std::max<int64_t>(1, parts_->space_symbol.empty() ? 1 : cost(parts_->space_symbol));
  return (parts_->puts_spaces ? 2 : 1) * space * most;
}

void BpeTokenizer::encode_piece(std::string_view text, bool is_start,
                                std::vector<int32_t>& ids) const {
  std::string normal;
  if (!parts_->normalizer->empty()) {
    normal = parts_->normalizer->apply(std::string(text));
    text = normal;
  }
  for (const TextPart& part : parts_->added_normalized->parts(text)) {
    if (part.added_id) {
      ids.push_back(*part.added_id);
    } else {
      parts_->encode_text(part.text, is_start && part.text.data() == text.data(), ids);
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

std::string BpeTokenizer::decode(std::span<const int32_t> ids) const { return text_of(ids, false); }
std::string BpeTokenizer::decode_all(std::span<const int32_t> ids) const {
  return text_of(ids, true);
}

std::string BpeTokenizer::text_of(std::span<const int32_t> ids, bool with_special) const {
  std::string text;
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    const Entry* entry = parts_->entry_of(id);
    if (entry == nullptr || (entry->is_special && !with_special)) continue;
    if (parts_->is_byte_level) {
      text += entry->bytes;
    } else {
      tokens.push_back(entry->token);
    }
  }
  return parts_->is_byte_level ? replace_invalid_utf8(std::move(text))
                               : parts_->decoder->text_of(std::move(tokens));
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
