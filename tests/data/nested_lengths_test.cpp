#include "orrery/data/nested_lengths.h"

#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "orrery/data/dtype.h"

namespace orrery::data {
namespace {

TEST(NestedLengths, KnowsLengthsBySampleAndMember) {
  const NestedLengths lengths = {{8, 3}, {5}, {}};

  EXPECT_EQ(lengths.size(), 3U);
  EXPECT_EQ(lengths.n_sequences(), 3U);
  EXPECT_EQ(lengths.of(0)[1], 3);
  EXPECT_EQ(lengths.total(0), 11);
  EXPECT_EQ(lengths.total(2), 0);
  EXPECT_EQ(lengths.grand_total(), 16);
  EXPECT_EQ(lengths.element_offsets(), (std::vector<int64_t>{0, 11, 16, 16}));
}

TEST(NestedLengths, SelectsSlicesAndAppends) {
  const NestedLengths lengths = {{8, 3}, {5}, {7, 7}};
  const std::vector<int> order = {2, 0};

  EXPECT_EQ(lengths.select(order), (NestedLengths{{7, 7}, {8, 3}}));
  EXPECT_EQ(lengths.slice(1, 3), (NestedLengths{{5}, {7, 7}}));
  EXPECT_TRUE(lengths.slice(1, 1).empty());
  NestedLengths twice = lengths.slice(0, 2);
  twice.append(twice);
  EXPECT_EQ(twice, (NestedLengths{{8, 3}, {5}, {8, 3}, {5}}));
}

TEST(NestedLengths, ComesBackFromItsFlatForm) {
  const NestedLengths lengths = {{8, 3}, {}, {5}};

  EXPECT_EQ(NestedLengths::from_flat(lengths.flat(), lengths.offsets()), lengths);
  EXPECT_EQ(NestedLengths::of_single(std::vector<int32_t>{4, 2}), (NestedLengths{{4}, {2}}));
}

TEST(NestedLengths, RefusesOffsetsThatDoNotFit) {
  EXPECT_THROW(NestedLengths::from_flat({1, 2}, {}), ShapeError);
  EXPECT_THROW(NestedLengths::from_flat({1, 2}, {0, 1}), ShapeError);
  EXPECT_THROW(NestedLengths::from_flat({1, 2}, {0, 2, 1, 2}), ShapeError);
  EXPECT_THROW(NestedLengths::from_flat({1, 2}, {1, 2}), ShapeError);
}

TEST(DTypeNames, AreReadBackAsTheSameType) {
  for (int value = 0; value <= static_cast<int>(DType::kF64); ++value) {
    const auto dtype = static_cast<DType>(value);
    EXPECT_EQ(parse_dtype(name(dtype)), dtype);
    EXPECT_GT(size_bytes(dtype), 0);
  }
  EXPECT_EQ(parse_dtype("float32"), DType::kF32);
  EXPECT_EQ(parse_dtype("complex"), std::nullopt);
}

}  // namespace
}  // namespace orrery::data
