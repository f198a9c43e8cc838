#include "orrery/data/text_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "orrery/base/file.h"
#include "orrery/data/bpe_tokenizer.h"
#include "orrery/data/utf8.h"

namespace orrery::data {
namespace {

/// What is shown after each id, and at last after the end.
std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  TextStream stream(tokenizer);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(stream.add(id));
  pieces.push_back(stream.finish());
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

TEST(TextStream, HoldsBackTheBeginningOfACharacter) {
  const ByteTokenizer tokenizer;

  EXPECT_EQ(pieces_of(tokenizer, tokenizer.encode("a\xe2\x82\xac!")),
            (std::vector<std::string>{"a", "", "", "\xe2\x82\xac", "!", ""}));
}

TEST(TextStream, ShowsWhatIsNoCharacterAtOnceAndWhatWasCutAtTheEnd) {
  const ByteTokenizer tokenizer;

  EXPECT_EQ(pieces_of(tokenizer, {0xff, 'a', 0xe2, 'b', 0xf0, 0x9f}),
            (std::vector<std::string>{"\xef\xbf\xbd", "a", "",
                                      "\xef\xbf\xbd"
                                      "b",
                                      "", "", "\xef\xbf\xbd"}));
}

TEST(TextStream, ShowsNothingOfSpecialTokens) {
  const ByteTokenizer tokenizer;

  EXPECT_EQ(joined(pieces_of(tokenizer, {ByteTokenizer::kBos, 'o', 'k', ByteTokenizer::kEos})),
            "ok");
}

TEST(TextStream, GivesTheTextThatDecodeGives) {
  // Of bytes; with the space before the first word left out; with "<0xE2>" and its like.
  for (const char* folder : {"", "characters/llama2", "characters/gemma", "characters/mistral",
                             "characters/metaspace-always", "characters/some-bytes"}) {
    const std::string file =
        std::string(ORRERY_SOURCE_DIR) + "/tests/fixtures/tokenizer/" + folder + "/tokenizer.json";
    const auto tokenizer = BpeTokenizer::parse(base::read_file(file), file);
    for (const char* text :
         {"Hello there", " two  spaces", "a", "na\xc3\xafve \xe2\x82\xac 5 \xf0\x9f\x98\x80!",
          "\xe6\x97\xa5\xe6\x9c\xac", "<s>a</s> b"}) {
      const std::vector<int32_t> ids = tokenizer->encode(text);

      EXPECT_EQ(joined(pieces_of(*tokenizer, ids)), tokenizer->decode(ids))
          << folder << ": " << text;
    }
  }
}

TEST(TextStream, OfAnyBytesIsValidAndWhatReplacingMakesOfThem) {
  const ByteTokenizer tokenizer;
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids(random() % 12);
    constexpr int32_t kTelling[] = {'a', 0x80, 0xbf, 0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0xff};
    for (int32_t& id : ids) id = kTelling[random() % std::size(kTelling)];

    const std::vector<std::string> pieces = pieces_of(tokenizer, ids);

    for (const std::string& piece : pieces) ASSERT_EQ(first_invalid_utf8(piece), std::nullopt);
    ASSERT_EQ(joined(pieces), replace_invalid_utf8(tokenizer.decode(ids)));
  }
}

}  // namespace
}  // namespace orrery::data
