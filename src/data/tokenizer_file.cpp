#include "tokenizer_file.h"

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
    if (!has_byte_level_) {
      refuse("pre_tokenizer", "one that ends in ByteLevel", type_or_null(root, "pre_tokenizer"));
    }
    read_post_processor(optional(root, "post_processor"));
    read_decoder(optional(root, "decoder"));
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
    if (name != "BPE") refuse(concat("model ", name), "BPE over bytes", name);
    if (flag(model, "byte_fallback", "model", false)) {
      refuse("model.byte_fallback", "false: BPE over bytes", "true");
    }
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
    } else if (type == "NFC") {
      file_.normalizations.push_back(Normalization::kNfc);
    } else if (type == "NFD") {
      file_.normalizations.push_back(Normalization::kNfd);
    } else if (type == "NFKC") {
      file_.normalizations.push_back(Normalization::kNfkc);
    } else if (type == "NFKD") {
      file_.normalizations.push_back(Normalization::kNfkd);
    } else {
      refuse(concat("normalizer ", type), "NFC, NFD, NFKC, NFKD, or a Sequence of them", type);
    }
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
    if (has_byte_level_) {
      refuse(concat("pre_tokenizer ", type, " behind ByteLevel"), "ByteLevel at the end", type);
    }
    PreTokenizerStep result;
    if (type == "ByteLevel") {
      has_byte_level_ = true;
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
    } else {
      refuse(concat("pre_tokenizer ", type), "ByteLevel, Split, Digits, or a Sequence of them",
             type);
    }
    file_.pre_tokenizer.push_back(std::move(result));
  }

  void read_split(const json& step, PreTokenizerStep& result) const {
    const json& pattern = member(step, "pattern", "pre_tokenizer");
    if (const json& regex = optional(pattern, "Regex"); !regex.is_null()) {
      result.pattern = text(regex, "pre_tokenizer.pattern.Regex");
    } else {
      result.pattern = pattern_of_literal(
          text(member(pattern, "String", "pre_tokenizer.pattern"), "pre_tokenizer.pattern.String"));
    }
    if (result.pattern.empty()) fail("pre_tokenizer.pattern", "a pattern", pattern);
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

  void read_decoder(const json& decoder) {
    if (decoder.is_null()) refuse("no decoder", "ByteLevel", "null");
    const std::string type = type_of(decoder, "decoder");
    if (type == "ByteLevel") return;
    if (type == "Sequence") {
      const json& steps = list(member(decoder, "decoders", "decoder"), "decoder.decoders");
      if (steps.size() == 1 && type_of(steps[0], "decoder") == "ByteLevel") return;
    }
    refuse(concat("decoder ", type), "ByteLevel", type);
  }

  const std::string& name_;
  TokenizerFile file_;
  bool has_byte_level_ = false;
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
