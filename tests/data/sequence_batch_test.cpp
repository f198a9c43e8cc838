// Properties of batches with tensors, on random ones.
#include "orrery/data/sequence_batch.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "orrery/base/error.h"

namespace orrery::data {
namespace {

NestedLengths random_lengths(std::mt19937& random, int n) {
  NestedLengths lengths;
  for (int i = 0; i < n; ++i) {
    std::vector<int32_t> members(1 + random() % 3);
    for (int32_t& length : members) length = static_cast<int32_t>(random() % 5);
    lengths.add_sample(members);
  }
  return lengths;
}

SequenceBatch random_batch(std::mt19937& random, int n) {
  SequenceBatch batch;
  for (int i = 0; i < n; ++i) batch.meta.ids.push_back({100 + static_cast<uint64_t>(i)});
  const NestedLengths tokens = random_lengths(random, n);
  batch.set("tokens", at::randint(1000, {tokens.grand_total()}, at::kLong), tokens);
  const NestedLengths hidden = random_lengths(random, n);
  batch.set("hidden", at::rand({hidden.grand_total(), 2, 3}), hidden);
  for (int i = 0; i < n; ++i) batch.meta.extra["number"].push_back(std::to_string(i));
  return batch;
}

void expect_equal(const SequenceBatch& a, const SequenceBatch& b) {
  EXPECT_EQ(a.meta, b.meta);
  ASSERT_EQ(a.data.size(), b.data.size());
  for (const auto& [key, tensor] : a.data) EXPECT_TRUE(at::equal(tensor, b.at(key))) << key;
}

std::vector<int> random_permutation(std::mt19937& random, int n) {
  std::vector<int> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

TEST(SequenceBatch, GatherUndoesSplit) {
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    const int n = 1 + static_cast<int>(random() % 9);
    const SequenceBatch batch = random_batch(random, n);
    std::vector<int> sizes;
    for (int left = n; left > 0; left -= sizes.back()) {
      sizes.push_back(1 + static_cast<int>(random() % static_cast<unsigned>(left)));
    }

    const std::vector<SequenceBatch> parts = batch.split({.sizes = sizes, .ranges = std::nullopt});

    for (const SequenceBatch& part : parts) part.check();
    expect_equal(gather(parts), batch);
  }
}

TEST(SequenceBatch, ReorderingBackGivesTheBatch) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    const int n = 1 + static_cast<int>(random() % 9);
    const SequenceBatch batch = random_batch(random, n);
    const std::vector<int> order = random_permutation(random, n);
    std::vector<int> inverse(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      inverse[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
    }

    const SequenceBatch there = batch.reorder(order);

    there.check();
    expect_equal(there.reorder(inverse), batch);
  }
}

TEST(SequenceBatch, RefusesATensorThatDoesNotFitItsLengths) {
  SequenceBatch batch;
  batch.meta.ids = {{1}, {2}};

  EXPECT_THROW(batch.set("x", at::zeros({4}), {{1}, {2}}), ShapeError);
  EXPECT_THROW(batch.set("x", at::scalar_tensor(1), {{1}, {0}}), ShapeError);
  EXPECT_THROW(batch.set("x", at::zeros({3}, at::kComplexFloat), {{1}, {2}}), ShapeError);
  batch.set("x", at::zeros({3}), {{1}, {2}});
  batch.data["x"] = at::zeros({3}, at::kLong);
  EXPECT_THROW(batch.check(), ShapeError);
}

TEST(SequenceBatch, TellsAMissingTensorFromAMissingKey) {
  std::mt19937 random(4);
  SequenceBatch batch = random_batch(random, 2);
  batch.data.erase("tokens");

  EXPECT_THROW(batch.at("tokens"), CallError);
  EXPECT_THROW(batch.at("nothing"), CallError);
  EXPECT_FALSE(gather(std::vector{batch}).has_data("tokens"));
}

TEST(SequenceBatch, KnowsEveryElementType) {
  for (int value = 0; value <= static_cast<int>(DType::kF64); ++value) {
    const auto dtype = static_cast<DType>(value);
    EXPECT_EQ(dtype_of(scalar_type(dtype)), dtype);
    EXPECT_EQ(at::elementSize(scalar_type(dtype)), static_cast<std::size_t>(size_bytes(dtype)));
  }
}

}  // namespace
}  // namespace orrery::data
