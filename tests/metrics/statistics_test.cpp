#include "orrery/metrics/statistics.h"

#include <gtest/gtest.h>

#include <cereal/archives/binary.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cmath>
#include <sstream>

#include "orrery/base/error.h"

namespace orrery::metrics {
namespace {

TEST(Statistics, MeansAreWeightedByTheirDenominators) {
  Statistics first, second;
  first.mean("loss", 6.0, 3.0);   // three tokens with mean 2
  second.mean("loss", 8.0, 1.0);  // one token with 8

  first.merge(second);

  EXPECT_DOUBLE_EQ(first.value("loss").value(), 3.5);
}

TEST(Statistics, EachKindMergesInItsOwnWay) {
  Statistics a, b;
  a.sum("n", 2);
  b.sum("n", 5);
  a.min("low", 2);
  b.min("low", -1);
  a.max("high", -3);
  b.max("high", -2);
  a.scalar("lr", 0.1);
  b.scalar("lr", 0.3);

  a.merge(b);

  EXPECT_DOUBLE_EQ(a.value("n").value(), 7);
  EXPECT_DOUBLE_EQ(a.value("low").value(), -1);
  EXPECT_DOUBLE_EQ(a.value("high").value(), -2);
  EXPECT_DOUBLE_EQ(a.value("lr").value(), 0.2);
}

TEST(Statistics, ADeviationIsThatOfAllElementsInWhateverPartsTheyCome) {
  const double values[] = {1e6 + 1, 1e6 + 2, 1e6 + 4, 1e6 + 4, 1e6 + 9};
  Statistics whole, first, second;
  for (int i = 0; i < 5; ++i) {
    whole.deviation("reward", values[i]);
    (i < 2 ? first : second).deviation("reward", values[i]);
  }

  first.merge(second);

  EXPECT_NEAR(whole.value("reward").value(), std::sqrt(7.6), 1e-9);  // mean 4: 9 + 4 + 0 + 0 + 25
  EXPECT_NEAR(first.value("reward").value(), std::sqrt(7.6), 1e-9);
}

TEST(Statistics, ADeviationOfEqualElementsIsZero) {
  Statistics statistics;
  for (int i = 0; i < 1000; ++i) statistics.deviation("reward", 0.1);

  EXPECT_EQ(statistics.value("reward"), 0.0);
}

TEST(Statistics, MergingKeepsNamesOfOneSideOnly) {
  Statistics a, b;
  a.sum("x", 1);
  b.sum("y", 2);

  a.merge(b);

  EXPECT_EQ(a.values(), (std::map<std::string, double>{{"x", 1}, {"y", 2}}));
}

TEST(Statistics, AMeanWithoutElementsHasNoValue) {
  Statistics statistics;
  statistics.mean("loss", 0, 0);
  statistics.add("reward", {.kind = Statistic::kMax});

  EXPECT_FALSE(statistics.value("loss").has_value());
  EXPECT_FALSE(statistics.value("reward").has_value());
  EXPECT_TRUE(statistics.values().empty());
}

TEST(Statistics, AnEmptyExtremeDoesNotWin) {
  Statistic empty{.kind = Statistic::kMin};
  Statistic five{.kind = Statistic::kMin, .sum = 5, .weight = 1};

  five.merge(empty);
  empty.merge(five);

  EXPECT_DOUBLE_EQ(five.value(), 5);
  EXPECT_DOUBLE_EQ(empty.value(), 5);
}

TEST(Statistics, ANameOfTwoKindsIsRefused) {
  Statistics statistics;
  statistics.sum("loss", 1);

  EXPECT_THROW(statistics.scalar("loss", 1), CallError);
  EXPECT_THROW((Statistic{.kind = Statistic::kMin}.merge({.kind = Statistic::kMax})), CallError);
}

TEST(Statistics, ANonFiniteValueStaysVisible) {
  Statistics statistics;
  statistics.mean("loss", std::nan(""), 2);

  EXPECT_TRUE(std::isnan(statistics.value("loss").value()));
}

TEST(Statistics, PrefixesAllNames) {
  Statistics statistics;
  statistics.sum("accuracy", 1);

  EXPECT_TRUE(statistics.with_prefix("eval/").value("eval/accuracy").has_value());
}

TEST(Statistics, TravelThroughCereal) {
  Statistics sent, received;
  sent.mean("loss", 6.5, 3);
  sent.max("high", -1);
  std::stringstream stream;

  {
    cereal::BinaryOutputArchive archive(stream);
    archive(sent);
  }
  cereal::BinaryInputArchive archive(stream);
  archive(received);

  EXPECT_EQ(received, sent);
}

}  // namespace
}  // namespace orrery::metrics
