#include "tokenizer_file.h"

#include <algorithm>  // count_if
#include <optional>

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/json.h"
#include "orrery/base/text.h"  // concat

namespace orrery::data {

namespace {

using base::concat;
using nlohmann::json;

/// Ids beyond this are no vocabulary but damage, and would ask for gigabytes of tables.
constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;

class FileReader {
 public:
  explicit FileReader(const std::string& name) : name_(name) {}

  TokenizerFile read(const json& root) {
    if (!root.is_object()) fail("the file", "an object", root);
    read_model(member(root, "model", "the file"));
    read_added_tokens(root);
    read_normalizer(optional(root, "normalizer"));
    read_pre_tokenizer(optional(root, "pre_tokenizer"));
    if (file_.is_byte_level && file_.has_byte_fallback) {
      refuse("model.byte_fallback", "false: every byte has its token in a ByteLevel file", "true");
    }
    read_post_processor(optional(root, "post_processor"));
    read_decoder(root);
    return std::move(file_);
  }

 private:
  [[noreturn]] void fail(const std::string& place, const std::string& expected,
                         const json& got) const {
    throw ConfigError(concat(name_, ": ", place),
                      {.expected = expected,
                       .got = got.is_primitive() ? got.dump(-1, ' ', true).substr(0, 80)
                                                 : std::string(got.type_name()),
                       .advice = "is it the tokenizer.json of a Hugging Face model, and whole?"});
  }
  [[noreturn]] void refuse(const std::string& place, const std::string& expected,
                           const std::string& got) const {
    throw ConfigError(concat(name_, ": ", place, " is not supported"),
                      {.expected = expected, .got = got, .advice = tokenize_beforehand(name_)});
  }

  const json& member(const json& object, const char* key, const std::string& place) const {
    if (!object.is_object()) fail(place, "an object", object);
    const auto found = object.find(key);
    if (found == object.end()) {
      throw ConfigError(concat(name_, ": ", place, " has no \"", key, "\""),
                        {.expected = concat("the field \"", key, "\""),
                         .got = "none",
                         .advice = "is it the tokenizer.json of a Hugging Face model, and whole?"});
    }
    return *found;
  }
  static const json& optional(const json& object, const char* key) {
    static const json none;
    if (!object.is_object()) return none;
    const auto found = object.find(key);
    return found == object.end() ? none : *found;
  }
  static std::string type_or_null(const json& root, const char* key) {
    const json& type = optional(optional(root, key), "type");
    return type.is_string() ? type.get<std::string>() : "null";
  }
  std::string text(const json& value, const std::string& place) const {
    if (!value.is_string()) fail(place, "a text", value);
    return value.get<std::string>();
  }
  std::string type_of(const json& value, const std::string& place) const {
    return text(member(value, "type", place), concat(place, ".type"));
  }
  bool flag(const json& object, const char* key, const std::string& place, bool absent) const {
    const json& value = optional(object, key);
    if (value.is_null()) return absent;
    if (!value.is_boolean()) fail(concat(place, ".", key), "true or false", value);
    return value.get<bool>();
  }
  int32_t id(const json& value, const std::string& place) const {
    if (!value.is_number_integer() || value.get<double>() < 0 ||
        value.get<double>() > static_cast<double>(kMaxId)) {
      fail(place, concat("a token id, 0 to ", kMaxId), value);
    }
    return value.get<int32_t>();
  }
  const json& list(const json& value, const std::string& place) const {
    if (!value.is_array()) fail(place, "a list", value);
    return value;
  }

  void read_model(const json& model) {
    // Old files have no type: BPE is then known by its merges.
    const json& type = optional(model, "type");
    const std::string name = type.is_null() && model.is_object() && model.contains("merges")
                                 ? "BPE"
                                 : type_of(model, "model");
    if (name != "BPE") refuse(concat("model ", name), "BPE", name);
    file_.has_byte_fallback = flag(model, "byte_fallback", "model", false);
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json& value = optional(model, affix);
      if (value.is_null() || (value.is_string() && value.get<std::string>().empty())) continue;
      refuse(concat("model.", affix), "none", text(value, concat("model.", affix)));
    }
    const json& dropout = optional(model, "dropout");
    if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0)) {
      refuse("model.dropout", "none", dropout.dump(-1, ' ', true));
    }
    file_.ignores_merges = flag(model, "ignore_merges", "model", false);
    file_.fuses_unknown = flag(model, "fuse_unk", "model", false);
    const json& unknown = optional(model, "unk_token");
    if (!unknown.is_null()) file_.unknown_token = text(unknown, "model.unk_token");

    const json& vocabulary = member(model, "vocab", "model");
    if (!vocabulary.is_object()) fail("model.vocab", "an object of ids", vocabulary);
    file_.vocabulary.reserve(vocabulary.size());
    for (const auto& [token, value] : vocabulary.items()) {
      file_.vocabulary.emplace_back(token, id(value, concat("model.vocab, token ", token)));
    }
    const json& merges = list(member(model, "merges", "model"), "model.merges");
    file_.merges.reserve(merges.size());
    for (const json& merge : merges) read_merge(merge);
  }

  void read_merge(const json& merge) {
    const std::string place = concat("model.merges, number ", file_.merges.size());
    if (merge.is_array()) {
      if (merge.size() != 2) fail(place, "two tokens", merge);
      file_.merges.push_back({text(merge[0], place), text(merge[1], place)});
      return;
    }
    const std::string both = text(merge, place);
    if (both.starts_with("#version")) return;
    const std::size_t space = both.find(' ');
    if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
      fail(place, "two tokens with a space between", merge);
    }
    file_.merges.push_back({both.substr(0, space), both.substr(space + 1)});
  }

  void read_added_tokens(const json& root) {
    const json& tokens = optional(root, "added_tokens");
    if (tokens.is_null()) return;
    for (const json& token : list(tokens, "added_tokens")) {
      const std::string place = concat("added_tokens, number ", file_.added.size());
      AddedToken added;
      added.content = text(member(token, "content", place), concat(place, ".content"));
      added.id = id(member(token, "id", place), concat(place, ".id"));
      added.is_special = flag(token, "special", place, false);
      added.is_normalized = flag(token, "normalized", place, !added.is_special);
      added.single_word = flag(token, "single_word", place, false);
      added.strips_left = flag(token, "lstrip", place, false);
      added.strips_right = flag(token, "rstrip", place, false);
      file_.added.push_back(std::move(added));
    }
  }

  void read_normalizer(const json& normalizer) {
    if (normalizer.is_null()) return;
    const std::string type = type_of(normalizer, "normalizer");
    if (type == "Sequence") {
      for (const json& one :
           list(member(normalizer, "normalizers", "normalizer"), "normalizer.normalizers")) {
        if (one.is_object() && type_or_null(json::object({{"one", one}}), "one") == "Sequence") {
          refuse("a normalizer Sequence in a Sequence", "a plain list", "Sequence");
        }
        read_normalizer(one);
      }
    } else if (const auto form = unicode_form(type)) {
      file_.normalizer.push_back({.kind = *form});
    } else if (type == "Prepend") {
      file_.normalizer.push_back(
          {.kind = NormalizerStep::Kind::kPrepend,
           .content = text(member(normalizer, "prepend", "normalizer"), "normalizer.prepend")});
    } else if (type == "Replace") {
      NormalizerStep step{.kind = NormalizerStep::Kind::kReplace};
      step.pattern = pattern_of(normalizer, "normalizer");
      step.content = text(member(normalizer, "content", "normalizer"), "normalizer.content");
      file_.normalizer.push_back(std::move(step));
    } else {
      refuse(concat("normalizer ", type),
             "NFC, NFD, NFKC, NFKD, Prepend, Replace, or a Sequence of them", type);
    }
  }

  static std::optional<NormalizerStep::Kind> unicode_form(const std::string& type) {
    if (type == "NFC") return NormalizerStep::Kind::kNfc;
    if (type == "NFD") return NormalizerStep::Kind::kNfd;
    if (type == "NFKC") return NormalizerStep::Kind::kNfkc;
    if (type == "NFKD") return NormalizerStep::Kind::kNfkd;
    return std::nullopt;
  }

  /// {"Regex": ...} or {"String": ...}, as a regular expression.
  std::string pattern_of(const json& step, const std::string& place) const {
    const json& pattern = member(step, "pattern", place);
    const json& regex = optional(pattern, "Regex");
    std::string result =
        !regex.is_null()
            ? text(regex, concat(place, ".pattern.Regex"))
            : pattern_of_literal(text(member(pattern, "String", concat(place, ".pattern")),
                                      concat(place, ".pattern.String")));
    if (result.empty()) fail(concat(place, ".pattern"), "a pattern", pattern);
    return result;
  }

  void read_pre_tokenizer(const json& step) {
    if (step.is_null()) return;
    const std::string type = type_of(step, "pre_tokenizer");
    if (type == "Sequence") {
      for (const json& one :
           list(member(step, "pretokenizers", "pre_tokenizer"), "pre_tokenizer.pretokenizers")) {
        if (one.is_object() && optional(one, "type") == json("Sequence")) {
          refuse("a pre_tokenizer Sequence in a Sequence", "a plain list", "Sequence");
        }
        read_pre_tokenizer(one);
      }
      return;
    }
    if (file_.is_byte_level) {
      refuse(concat("pre_tokenizer ", type, " behind ByteLevel"), "ByteLevel at the end", type);
    }
    PreTokenizerStep result;
    if (type == "ByteLevel") {
      file_.is_byte_level = true;
      if (flag(step, "add_prefix_space", "pre_tokenizer", true)) {
        result.prefix_space = PreTokenizerStep::PrefixSpace::kIfMissing;
      }
      if (flag(step, "use_regex", "pre_tokenizer", true)) result.pattern = kGpt2Pattern;
    } else if (type == "Split") {
      read_split(step, result);
    } else if (type == "Digits") {
      result.pattern = R"(\p{N})";
      if (!flag(step, "individual_digits", "pre_tokenizer", false)) {
        result.behavior = SplitBehavior::kContiguous;
      }
    } else if (type == "Metaspace") {
      read_metaspace(step, result);
    } else {
      refuse(concat("pre_tokenizer ", type),
             "ByteLevel, Split, Digits, Metaspace, or a Sequence of them", type);
    }
    file_.pre_tokenizer.push_back(std::move(result));
  }

  void read_split(const json& step, PreTokenizerStep& result) const {
    result.pattern = pattern_of(step, "pre_tokenizer");
    const std::string behavior =
        text(member(step, "behavior", "pre_tokenizer"), "pre_tokenizer.behavior");
    if (behavior == "Isolated") {
      result.behavior = SplitBehavior::kIsolated;
    } else if (behavior == "Removed") {
      result.behavior = SplitBehavior::kRemoved;
    } else if (behavior == "MergedWithPrevious") {
      result.behavior = SplitBehavior::kMergedWithPrevious;
    } else if (behavior == "MergedWithNext") {
      result.behavior = SplitBehavior::kMergedWithNext;
    } else if (behavior == "Contiguous") {
      result.behavior = SplitBehavior::kContiguous;
    } else {
      refuse(concat("pre_tokenizer.behavior ", behavior),
             "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous", behavior);
    }
    if (flag(step, "invert", "pre_tokenizer", false)) result.invert = SplitInvert::kYes;
  }

  /// The symbol of a Metaspace step, and whether a text gets one before it. Old files say
  /// add_prefix_space in place of prepend_scheme.
  std::string space_symbol_of(const json& step, const std::string& place) const {
    std::string symbol = text(member(step, "replacement", place), concat(place, ".replacement"));
    if (n_characters(symbol) != 1) {
      fail(concat(place, ".replacement"), "one character", json(symbol));
    }
    return symbol;
  }
  std::string prepend_scheme_of(const json& step, const std::string& place) const {
    const json& scheme = optional(step, "prepend_scheme");
    const bool adds = flag(step, "add_prefix_space", place, true);
    if (scheme.is_null()) return adds ? "always" : "never";
    const std::string name = text(scheme, concat(place, ".prepend_scheme"));
    if (name != "always" && name != "first" && name != "never") {
      fail(concat(place, ".prepend_scheme"), "always, first or never", scheme);
    }
    if (!adds && name != "never") {
      fail(concat(place, ".prepend_scheme"), "never, as add_prefix_space is false", scheme);
    }
    return name;
  }

  void read_metaspace(const json& step, PreTokenizerStep& result) const {
    using PrefixSpace = PreTokenizerStep::PrefixSpace;
    result.space_symbol = space_symbol_of(step, "pre_tokenizer");
    const std::string scheme = prepend_scheme_of(step, "pre_tokenizer");
    result.prefix_space = scheme == "always"  ? PrefixSpace::kIfMissing
                          : scheme == "first" ? PrefixSpace::kIfMissingAtStart
                                              : PrefixSpace::kNo;
    if (!flag(step, "split", "pre_tokenizer", true)) return;
    result.pattern = pattern_of_literal(result.space_symbol);
    result.behavior = SplitBehavior::kMergedWithNext;
  }

  void read_post_processor(const json& processor) {
    if (processor.is_null()) return;
    const std::string type = type_of(processor, "post_processor");
    if (type == "ByteLevel") return;  // it trims offsets, which nobody asks for here
    if (type == "Sequence") {
      for (const json& one :
           list(member(processor, "processors", "post_processor"), "post_processor.processors")) {
        if (one.is_object() && optional(one, "type") == json("Sequence")) {
          refuse("a post_processor Sequence in a Sequence", "a plain list", "Sequence");
        }
        read_post_processor(one);
      }
      return;
    }
    if (type != "TemplateProcessing") {
      refuse(concat("post_processor ", type),
             "TemplateProcessing, ByteLevel, or a Sequence of them", type);
    }
    std::vector<int32_t> before;
    std::vector<int32_t> behind;
    int texts = 0;
    for (const json& piece :
         list(member(processor, "single", "post_processor"), "post_processor.single")) {
      if (const json& token = optional(piece, "SpecialToken"); !token.is_null()) {
        const std::string name =
            text(member(token, "id", "post_processor.single"), "post_processor.single.id");
        const json& known = member(processor, "special_tokens", "post_processor");
        const json& entry = member(known, name.c_str(), "post_processor.special_tokens");
        for (const json& special_token : list(member(entry, "ids", "post_processor.special_tokens"),
                                              "post_processor.special_tokens.ids")) {
          (texts == 0 ? before : behind)
              .push_back(id(special_token, "post_processor.special_tokens.ids"));
        }
      } else {
        const json& sequence = member(piece, "Sequence", "post_processor.single");
        const std::string name =
            text(member(sequence, "id", "post_processor.single"), "post_processor.single.id");
        if (name != "A") fail("post_processor.single", "the sequence A", json(name));
        ++texts;
      }
    }
    if (texts != 1) fail("post_processor.single", "the text once", json(texts));
    // Each processor works on what the one before it has made.
    file_.tokens_before.insert(file_.tokens_before.begin(), before.begin(), before.end());
    file_.tokens_behind.insert(file_.tokens_behind.end(), behind.begin(), behind.end());
  }

  void read_decoder(const json& root) {
    const json& decoder = optional(root, "decoder");
    if (decoder.is_null()) {
      refuse("no decoder", "ByteLevel, or steps with ByteFallback or Metaspace", "null");
    }
    const std::string type = type_of(decoder, "decoder");
    std::vector<const json*> steps = {&decoder};
    if (type == "Sequence") {
      steps.clear();
      for (const json& step : list(member(decoder, "decoders", "decoder"), "decoder.decoders")) {
        steps.push_back(&step);
      }
    }
    const bool is_byte_level = steps.size() == 1 && type_of(*steps[0], "decoder") == "ByteLevel";
    if (file_.is_byte_level) {
      if (!is_byte_level) refuse(concat("decoder ", type), "ByteLevel", type);
      return;
    }
    if (is_byte_level) {
      refuse("pre_tokenizer", "one that ends in ByteLevel, as the decoder is ByteLevel",
             type_or_null(root, "pre_tokenizer"));
    }
    for (const json* step : steps) read_decoder_step(*step);
  }

  void read_decoder_step(const json& step) {
    using Kind = DecoderStep::Kind;
    const std::string type = type_of(step, "decoder");
    DecoderStep result;
    if (type == "Replace") {
      result = {.kind = Kind::kReplace,
                .pattern = pattern_of(step, "decoder"),
                .content = text(member(step, "content", "decoder"), "decoder.content")};
    } else if (type == "Metaspace") {
      result = {.kind = Kind::kMetaspace,
                .content = space_symbol_of(step, "decoder"),
                .n_at_start = prepend_scheme_of(step, "decoder") == "never" ? 0 : 1};
    } else if (type == "ByteFallback") {
      result.kind = Kind::kByteFallback;
    } else if (type == "Fuse") {
      result.kind = Kind::kFuse;
    } else if (type == "Strip") {
      result = {.kind = Kind::kStrip,
                .content = text(member(step, "content", "decoder"), "decoder.content"),
                .n_at_start = count(member(step, "start", "decoder"), "decoder.start")};
      const int at_end = count(member(step, "stop", "decoder"), "decoder.stop");
      if (n_characters(result.content) != 1) {
        fail("decoder.content", "one character", json(result.content));
      }
      if (at_end > 0 || result.n_at_start > 1) {
        refuse("decoder Strip", "start 0 or 1, and stop 0", step.dump(-1, ' ', true));
      }
    } else {
      refuse(concat("decoder ", type),
             "ByteLevel, Replace, Metaspace, ByteFallback, Fuse, Strip, or a Sequence of them",
             type);
    }
    check_order(result.kind, type);
    file_.decoder.push_back(std::move(result));
  }

  /// Each token must give its bytes by itself: (Replace or Metaspace)*, ByteFallback, Fuse, Strip.
  void check_order(DecoderStep::Kind kind, const std::string& type) const {
    using Kind = DecoderStep::Kind;
    const auto rank = [](Kind k) {
      return k == Kind::kByteFallback ? 1 : k == Kind::kFuse ? 2 : k == Kind::kStrip ? 3 : 0;
    };
    const bool has_last = !file_.decoder.empty();
    const Kind last = has_last ? file_.decoder.back().kind : Kind::kReplace;
    const bool is_in_order = rank(kind) == 0 ? rank(last) == 0 : rank(kind) > rank(last);
    if (is_in_order && (kind != Kind::kStrip || last == Kind::kFuse)) return;
    refuse(concat("decoder ", type, " at this place"),
           "Replace or Metaspace first, then ByteFallback, Fuse, Strip", type);
  }

  int count(const json& value, const std::string& place) const {
    if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > 1000) {
      fail(place, "a number, 0 to 1000", value);
    }
    return value.get<int>();
  }
  static std::size_t n_characters(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
  }

  const std::string& name_;
  TokenizerFile file_;
};

}  // namespace

std::string tokenize_beforehand(const std::string& file) {
  return concat("let its own library make the tokens: tools/tokenize.py --tokenizer ", file,
                " DATA.jsonl DATA.h5 (--help tells more), and set dataset.NAME.path = DATA.h5");
}

TokenizerFile TokenizerFile::parse(std::string_view text, const std::string& name) {
  const auto [root, problem] = base::parse_json(text);
  if (!problem.empty()) {
    throw ConfigError(concat(name, ": ", problem), {.expected = "JSON text",
                                                    .got = "something else",
                                                    .advice = "is the file whole? copy it again"});
  }
  return FileReader(name).read(root);
}

}  // namespace orrery::data
