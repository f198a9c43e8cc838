#include "orrery/worker/data_store.h"

#include <gtest/gtest.h>

#include <string>

#include "orrery/base/error.h"

namespace orrery::worker {
namespace {

/// Samples 3 and 8 with two and one sequences of tokens.
data::SequenceBatch tokens_of_two_samples() {
  data::SequenceBatch batch;
  batch.meta.ids = {{3}, {8}};
  batch.meta.keys = {{"tokens", data::DType::kI64, {}, {{2, 1}, {2}}}};
  batch.data["tokens"] = at::arange(5, at::kLong);
  return batch;
}

TEST(DataStore, GivesSamplesInTheOrderAskedFor) {
  DataStore store;
  store.put(tokens_of_two_samples());
  const int order[] = {1, 0};

  const data::SequenceBatch got = store.gather(tokens_of_two_samples().meta.select_samples(order));

  EXPECT_TRUE(at::equal(got.data.at("tokens"), at::tensor({3, 4, 0, 1, 2}, at::kLong)));
}

TEST(DataStore, ReplacesAKeyThatComesAgain) {
  DataStore store;
  store.put(tokens_of_two_samples());
  data::SequenceBatch changed = tokens_of_two_samples();
  changed.data["tokens"] = at::full({5}, 9, at::kLong);

  store.put(changed);

  EXPECT_TRUE(at::equal(store.gather(changed.meta).data.at("tokens"), changed.data.at("tokens")));
}

TEST(DataStore, FindsKeysOfSamplesOnlyIfAllOfThemAreHere) {
  DataStore store;
  data::SequenceBatch texts;
  texts.meta.ids = {{3}, {8}};
  texts.set("answers", at::tensor({65, 66, 67}, at::kByte), data::NestedLengths{{2}, {1}});
  store.put(texts);
  const data::SampleId here[] = {{8}, {3}}, elsewhere[] = {{8}, {4}};
  const std::string keys[] = {"answers"}, unknown[] = {"answers", "fields"};

  const auto found = store.find(here, keys);

  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(at::equal(found->at("answers"), at::tensor({67, 65, 66}, at::kByte)));
  EXPECT_EQ(found->meta.at("answers").lengths, (data::NestedLengths{{1}, {2}}));
  EXPECT_FALSE(store.find(elsewhere, keys).has_value());
  EXPECT_FALSE(store.find(here, unknown).has_value());
}

TEST(DataStore, ForgetsWhatIsCleared) {
  DataStore store;
  store.put(tokens_of_two_samples());
  const data::SampleId cleared[] = {{3}, {99}};

  store.clear(cleared);

  EXPECT_FALSE(store.has({3}, "tokens"));
  EXPECT_TRUE(store.has({8}, "tokens"));
  EXPECT_EQ(store.size(), 1u);
}

TEST(DataStore, NamesTheSampleAndKeyThatAreMissing) {
  DataStore store;
  store.put(tokens_of_two_samples());
  data::BatchMetadata wanted = tokens_of_two_samples().meta;
  wanted.keys[0].key = "rewards";

  try {
    store.gather(wanted);
    FAIL();
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("sample 3 has no key rewards"), std::string::npos);
  }
}

TEST(DataStore, RefusesALengthThatDiffers) {
  DataStore store;
  store.put(tokens_of_two_samples());
  data::BatchMetadata wanted = tokens_of_two_samples().meta;
  wanted.keys[0].lengths = {{2, 2}, {2}};

  EXPECT_THROW(store.gather(wanted), CallError);
}

}  // namespace
}  // namespace orrery::worker
