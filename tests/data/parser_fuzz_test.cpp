// Mutated tokenizer.json files and JSON lines: each is refused with an Error or gives something
// that works, never a crash, an endless loop or memory that the file gives no reason for.
// ORRERY_MUTATIONS sets how many (of each kind; 4,000 without it).
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "data/temporary_file.h"
#include "mutated_text.h"
#include "orrery/base/error.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/dataset.h"
#include "orrery/data/jsonl.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::data {
namespace {

const uint64_t kMutations = n_mutations(4'000);

/// Of a tokenizer, a record, or a regular expression.
const std::vector<std::string> kPieces = json_pieces({"\\",
                                                      "[]",
                                                      "{}",
                                                      "\"\"",
                                                      "\\ud800",
                                                      "\xc3",
                                                      "\xef\xbb\xbf",
                                                      "\r\n",
                                                      "2147483647",
                                                      "\"vocab\"",
                                                      "\"merges\"",
                                                      "\"type\"",
                                                      "\"Sequence\"",
                                                      "\"pattern\":{\"Regex\":\"(\"}",
                                                      "(a*)*b",
                                                      "(?R)",
                                                      "{1,65535}",
                                                      "\\\\p{",
                                                      "\"id\":",
                                                      "\"prompt\":",
                                                      std::string(2000, '[')});

std::string mutated(std::string text, uint64_t mutation) {
  Draws draws(mutation);
  const size_t n_changes = 1 + draws.below(2);
  for (size_t i = 0; i < n_changes && !text.empty(); ++i) change_text(text, kPieces, draws);
  return text;
}

/// Sound JSON with one value, or some, of another type or from another place.
std::string with_other_values(const std::string& text, uint64_t mutation) {
  using Json = nlohmann::json;
  static const Json kValues[] = {
      nullptr, true,     -1,         0,        7,   2147483648, 1e300,         "",
      "ab",    "\u0120", "Sequence", "(a*)*b", "[", "NFC",      Json::array(), Json::object()};
  Draws draws(mutation);
  Json json = Json::parse(text);
  const size_t n_changes = 1 + draws.below(3);
  for (size_t i = 0; i < n_changes; ++i) {
    const Json flat = json.flatten();
    const auto any = [&] {
      Json::json_pointer place(std::next(flat.begin(), long(draws.below(flat.size()))).key());
      while (draws.below(4) == 0 && !place.parent_pointer().empty()) place.pop_back();
      return place;
    };
    const Json::json_pointer place = any();
    if (draws.below(4) == 0) {
      json[place] = Json(json.at(any()));
    } else if (draws.below(4) == 0 && json.at(place.parent_pointer()).is_object()) {
      json.at(place.parent_pointer()).erase(place.back());
    } else {
      json[place] = kValues[draws.below(std::size(kValues))];
    }
  }
  return json.dump();
}

/// Small, with every part that is read.
const std::string kTokenizer = R"({
 "added_tokens": [{"id": 12, "content": "<|end|>", "special": true, "single_word": false,
                   "lstrip": false, "rstrip": true, "normalized": false},
                  {"id": 13, "content": "aab", "special": false, "single_word": true,
                   "lstrip": true, "rstrip": false, "normalized": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
   {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\p{L}+|\\p{N}{1,3}"},
    "behavior": "Isolated", "invert": false},
   {"type": "Digits", "individual_digits": true},
   {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
 "post_processor": {"type": "TemplateProcessing",
   "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
              {"Sequence": {"id": "A", "type_id": 0}}],
   "pair": [], "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [12],
                                              "tokens": ["<|end|>"]}}},
 "decoder": {"type": "ByteLevel"},
 "model": {"type": "BPE", "unk_token": null, "fuse_unk": false, "ignore_merges": false,
   "vocab": {"a": 0, "b": 1, "c": 2, "1": 3, "\u0120": 4, "aa": 5, "ab": 6, "aab": 7,
             "\u0120a": 8, "\u00c3": 9, "\u00a9": 10, "\u00c3\u00a9": 11},
   "merges": [["a", "a"], ["a", "b"], "aa b", ["\u0120", "a"], ["\u00c3", "\u00a9"]]}})";

const std::string kText = "aab caa \xc3\xa9 11 <|end|>  b\na\tabaabaaabbb 123";

/// Encodes and decodes: whatever the ids are, they are the tokenizer's.
void use(const Tokenizer& tokenizer) {
  const std::vector<int32_t> ids = tokenizer.encode(kText);
  for (const int32_t id : ids) {
    ASSERT_GE(id, 0);
    ASSERT_LT(id, tokenizer.vocab_size());
  }
  ASSERT_LE(tokenizer.vocab_size(), 1 << 20) << "more tokens than such a file can name";
  (void)tokenizer.decode(ids);
  ASSERT_EQ(tokenizer.count(kText), static_cast<int64_t>(ids.size()));
}

TEST(ParserFuzz, TokenizerFilesAreReadOrRefused) {
  use(*BpeTokenizer::parse(kTokenizer, "t.json"));
  uint64_t n_refused = 0;
  for (uint64_t mutation = 0; mutation < kMutations; ++mutation) {
    SCOPED_TRACE(mutation);
    try {
      const std::string text = mutation % 2 == 0 ? mutated(kTokenizer, mutation)
                                                 : with_other_values(kTokenizer, mutation);
      use(*BpeTokenizer::parse(text, "t.json"));
    } catch (const Error&) {
      ++n_refused;
    }
    if (HasFailure()) return;
  }
  std::printf("%llu tokenizer files, %llu of them refused\n",
              static_cast<unsigned long long>(kMutations),
              static_cast<unsigned long long>(n_refused));
  EXPECT_GT(n_refused, kMutations / 4);
  EXPECT_LT(n_refused, kMutations) << "the mutations break everything: nothing is tested";
}

const std::string kRecords =
    "{\"id\": \"a\", \"prompt\": \"1+1=\", \"answer\": \"2\", \"completion\": \"two\"}\n"
    "{\"id\": \"b\", \"prompt\": \"\\u00e9\\ud83d\\ude00\", \"answer\": null, \"x\": [1, {\"y\": "
    "2}], "
    "\"completion\": \"\"}\r\n"
    "{\"id\": 7, \"prompt\": \"\xc3\xa9\", \"completion\": \"e\", \"n\": -1.5e3}\n";

TEST(ParserFuzz, RecordsAreReadOrRefused) {
  const ByteTokenizer bytes;
  const TemporaryFile file(kRecords);
  config::DatasetConfig config;
  config.path = file.path();
  config.max_prompt_tokens = 20;
  config.max_tokens = 30;
  uint64_t n_refused = 0, n_rows = 0;
  for (uint64_t mutation = 0; mutation < kMutations; ++mutation) {
    SCOPED_TRACE(mutation);
    const std::string text = mutated(kRecords, mutation);
    file.write(text);
    config.kind = mutation % 2 == 0 ? "prompts" : "completions";
    config.on_bad_record = mutation % 4 < 2 ? "skip" : "fail";
    try {
      const JsonlIndex index = JsonlIndex::build(config, bytes);
      ASSERT_LE(index.n_rows(), static_cast<int64_t>(text.size()));
      for (int64_t row = 0; row < index.n_rows(); ++row) {
        ASSERT_LE(index.offset(row) + index.size_bytes(row), static_cast<int64_t>(text.size()));
      }
      n_rows += static_cast<uint64_t>(index.n_rows());
      if (mutation % 8 != 0) continue;
      const auto dataset = Dataset::open(config, index, bytes);
      for (int64_t row = 0; row < index.n_rows(); ++row) {
        const SampleId id{static_cast<uint64_t>(row)};
        ASSERT_EQ(dataset->read({&row, 1}, {&id, 1}).size(), 1);
      }
    } catch (const Error&) {
      ++n_refused;
    }
  }
  std::printf("%llu files of records, %llu refused whole, %llu rows used\n",
              static_cast<unsigned long long>(kMutations),
              static_cast<unsigned long long>(n_refused), static_cast<unsigned long long>(n_rows));
  EXPECT_GT(n_refused, kMutations / 8);
  EXPECT_GT(n_rows, kMutations / 2);
}

}  // namespace
}  // namespace orrery::data
