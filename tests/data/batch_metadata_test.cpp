#include "orrery/data/batch_metadata.h"

#include <gtest/gtest.h>

#include <cereal/archives/binary.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <functional>
#include <sstream>
#include <unordered_set>

#include "orrery/base/error.h"
#include "orrery/data/row_ref.h"

namespace orrery::data {
namespace {

BatchMetadata two_samples() {
  return {.ids = {{7}, {9}},
          .keys = {{"tokens", DType::kI64, {}, {{3, 4}, {5}}},
                   {"hidden", DType::kF32, {2, 3}, {{1, 1}, {1}}}},
          .extra = {{"birth", {"1", "2"}}}};
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(BatchMetadata, NamesTheKeysThereAreWhenOneIsMissing) {
  const std::string text = message_of([] { two_samples().at("rewards"); });

  EXPECT_NE(text.find("rewards"), std::string::npos) << text;
  EXPECT_NE(text.find("tokens, hidden"), std::string::npos) << text;
}

TEST(BatchMetadata, CheckFindsWhatContradictsItself) {
  BatchMetadata twice = two_samples();
  twice.ids[1] = twice.ids[0];
  BatchMetadata short_key = two_samples();
  short_key.keys[0].lengths = {{3, 4}};
  BatchMetadata same_key = two_samples();
  same_key.keys[1].key = "tokens";
  BatchMetadata short_extra = two_samples();
  short_extra.extra["birth"] = {"1"};
  BatchMetadata negative = two_samples();
  negative.keys[0].lengths = {{3, -4}, {5}};

  EXPECT_NO_THROW(two_samples().check());
  for (const BatchMetadata& wrong : {twice, short_key, same_key, short_extra, negative}) {
    EXPECT_THROW(wrong.check(), CallError);
  }
}

TEST(BatchMetadata, SelectSamplesRefusesWrongIndices) {
  const BatchMetadata batch = two_samples();

  EXPECT_THROW(batch.select_samples(std::vector<int>{0, 2}), CallError);
  EXPECT_THROW(batch.select_samples(std::vector<int>{-1}), CallError);
  EXPECT_THROW(batch.select_samples(std::vector<int>{1, 1}), CallError);
  EXPECT_THROW(batch.slice({1, 3}), CallError);
  EXPECT_THROW(batch.reorder(std::vector<int>{1}), CallError);
}

TEST(BatchMetadata, GatherRefusesPartsThatDisagree) {
  const BatchMetadata whole = two_samples();
  BatchMetadata other_type = whole.slice({1, 2});
  other_type.keys[0].dtype = DType::kI32;
  BatchMetadata other_shape = whole.slice({1, 2});
  other_shape.keys[1].trailing_shape = {3, 2};
  BatchMetadata lacks_key = whole.slice({1, 2});
  lacks_key.keys.pop_back();

  for (const BatchMetadata& second : {other_type, other_shape, lacks_key, whole}) {
    EXPECT_THROW(gather(std::vector{whole.slice({0, 1}), second}), CallError);
  }
  EXPECT_THROW(gather({}), CallError);
}

TEST(BatchMetadata, GatherFillsExtrasThatAPartLacks) {
  BatchMetadata second = two_samples().slice({1, 2});
  second.extra.clear();

  const BatchMetadata whole = gather(std::vector{two_samples().slice({0, 1}), second});

  EXPECT_EQ(whole.extra.at("birth"), (std::vector<std::string>{"1", "null"}));
}

TEST(BatchMetadata, RemapRefusesTwoKeysOfOneName) {
  EXPECT_THROW(two_samples().remap({{"tokens", "hidden"}}), CallError);
}

TEST(BatchMetadata, SurvivesAMessage) {
  const BatchMetadata sent = two_samples();
  const RowRef sent_row{.dataset = 1, .row = 5, .epoch = 2, .id = {77}};
  std::stringstream stream;
  {
    cereal::BinaryOutputArchive archive(stream);
    archive(sent, sent_row);
  }

  BatchMetadata received;
  RowRef received_row;
  cereal::BinaryInputArchive archive(stream);
  archive(received, received_row);

  EXPECT_EQ(received, sent);
  EXPECT_EQ(received_row, sent_row);
}

TEST(SampleIds, HashToDifferentPlaces) {
  std::unordered_set<std::size_t> low_bits;
  for (uint64_t value = 0; value < 4096; ++value) {
    low_bits.insert(std::hash<SampleId>{}({value}) & 4095);
  }
  EXPECT_GT(low_bits.size(), 2000U);
}

TEST(MinibatchSizes, RefuseImpossibleCounts) {
  EXPECT_THROW(minibatch_sizes(4, 0), CallError);
  EXPECT_THROW(minibatch_sizes(-1, 2), CallError);
}

}  // namespace
}  // namespace orrery::data
