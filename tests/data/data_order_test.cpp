#include "orrery/data/data_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cereal/archives/binary.hpp>
#include <cereal/types/vector.hpp>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <sstream>

#include "golden_file.h"
#include "orrery/base/error.h"

namespace orrery::data {
namespace {

OrderedDataset dataset_of(int64_t n_rows, double weight = 0) {
  return {.name = "arith", .n_rows = n_rows, .weight = weight, .fingerprint = 42};
}

DataOrder order_of(std::vector<OrderedDataset> datasets, int64_t samples_per_step = 1,
                   uint64_t seed = 7) {
  return {std::move(datasets), {.seed = seed, .samples_per_step = samples_per_step}};
}

TEST(DataOrder, GoesThroughEachRowOncePerEpochWhateverTheStep) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const auto n_rows = static_cast<int64_t>(1 + random() % 40);
    const auto step = static_cast<int64_t>(1 + random() % static_cast<uint64_t>(n_rows));
    DataOrder order = order_of({dataset_of(n_rows)}, step, random());
    std::map<int64_t, std::vector<int64_t>> rows_by_epoch;

    while (order.samples_drawn() < 4 * n_rows) {
      for (const RowRef& row : order.next(step)) rows_by_epoch[row.epoch].push_back(row.row);
    }

    std::vector<int64_t> all(static_cast<size_t>(n_rows));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      std::sort(rows_by_epoch[epoch].begin(), rows_by_epoch[epoch].end());
      EXPECT_EQ(rows_by_epoch[epoch], all) << "epoch " << epoch;
    }
  }
}

TEST(DataOrder, UsesUpAnEpochBeforeTheNextBegins) {
  DataOrder order = order_of({dataset_of(5)}, 3);

  std::vector<int64_t> epochs;
  for (const RowRef& row : order.next(10)) epochs.push_back(row.epoch);

  EXPECT_EQ(epochs, (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));
}

TEST(DataOrder, GivesConsecutiveHandles) {
  DataOrder order = order_of({dataset_of(3)});

  std::vector<RowRef> rows = order.next(2);
  for (const RowRef& row : order.next(5)) rows.push_back(row);

  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].id.value, i + 1);
}

TEST(DataOrder, DependsOnSeedDatasetAndEpoch) {
  const auto permutation = epoch_permutation(1, 0, 0, 100);

  EXPECT_EQ(epoch_permutation(1, 0, 0, 100), permutation);
  EXPECT_NE(epoch_permutation(2, 0, 0, 100), permutation);
  EXPECT_NE(epoch_permutation(1, 1, 0, 100), permutation);
  EXPECT_NE(epoch_permutation(1, 0, 1, 100), permutation);
}

TEST(DataOrder, PutsEveryRowEverywhereEquallyOften) {
  constexpr int kRows = 5;
  constexpr int kEpochs = 20000;
  std::map<std::pair<int, uint32_t>, int> counts;  // (place, row)
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const auto permutation = epoch_permutation(11, 0, epoch, kRows);
    for (int place = 0; place < kRows; ++place) {
      ++counts[{place, permutation[static_cast<size_t>(place)]}];
    }
  }

  EXPECT_EQ(counts.size(), 25U);
  // 4000 expected; 5 standard deviations of a binomial are 283.
  for (const auto& [where, count] : counts) EXPECT_NEAR(count, 4000, 283);
}

TEST(DataOrder, IsTheSameAfterARestore) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    const std::vector<OrderedDataset> datasets = {dataset_of(13), dataset_of(7)};
    DataOrder straight = order_of(datasets, 4);
    straight.next(static_cast<int64_t>(random() % 60));
    std::stringstream stream;
    {
      cereal::BinaryOutputArchive archive(stream);
      archive(straight.state());
    }
    DataOrder::State state;
    {
      cereal::BinaryInputArchive archive(stream);
      archive(state);
    }
    EXPECT_EQ(state, straight.state());

    DataOrder resumed = order_of(datasets, 4);
    resumed.restore(state);

    EXPECT_EQ(resumed.next(50), straight.next(50));
  }
}

TEST(DataOrder, EndsTheEpochsOfAllDataSetsTogether) {
  DataOrder order = order_of({dataset_of(30), dataset_of(7), dataset_of(1)});
  ASSERT_EQ(order.samples_per_epoch(), 38);

  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<std::pair<int32_t, int64_t>> seen;
    for (const RowRef& row : order.next(38)) {
      EXPECT_EQ(row.epoch, epoch);
      seen.insert({row.dataset, row.row});
    }
    EXPECT_EQ(seen.size(), 38U);
  }
}

TEST(DataOrder, MixesByWeightAtEveryMoment) {
  DataOrder order = order_of({dataset_of(100, 3), dataset_of(1000, 1)});

  int64_t first = 0;
  for (int64_t drawn = 1; drawn <= 2000; ++drawn) {
    first += order.next(1)[0].dataset == 0;
    EXPECT_NEAR(static_cast<double>(first), 0.75 * static_cast<double>(drawn), 1.0);
  }
  EXPECT_EQ(first, 1500);
}

TEST(DataOrder, RefusesADataSetSmallerThanAStep) {
  EXPECT_NO_THROW(order_of({dataset_of(8)}, 8));
  try {
    order_of({dataset_of(8)}, 9);
    FAIL() << "8 rows are not enough for 9 samples";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("arith"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("at least 9"), std::string::npos) << error.what();
  }
  EXPECT_THROW(order_of({dataset_of(0)}, 1), ConfigError);
  EXPECT_THROW(order_of({}, 1), ConfigError);
  EXPECT_THROW(order_of({dataset_of(2, 1), dataset_of(100, 1)}, 8), ConfigError);
  EXPECT_NO_THROW(order_of({dataset_of(2), dataset_of(6)}, 8));
}

TEST(DataOrder, RefusesWeightsForSomeDataSetsOnly) {
  EXPECT_THROW(order_of({dataset_of(5, 1), dataset_of(5, 0)}), ConfigError);
  EXPECT_THROW(order_of({dataset_of(5, -1)}), ConfigError);
}

TEST(DataOrder, RefusesAStateOfOtherData) {
  const DataOrder::State state = order_of({dataset_of(5)}).state();
  OrderedDataset changed = dataset_of(5);
  changed.fingerprint = 43;
  DataOrder::State past_the_end = state;
  past_the_end.cursors[0].position = 5;

  EXPECT_THROW(order_of({dataset_of(6)}).restore(state), ConfigError);
  EXPECT_THROW(order_of({changed}).restore(state), ConfigError);
  EXPECT_THROW(order_of({dataset_of(5), dataset_of(5)}).restore(state), ConfigError);
  EXPECT_THROW(order_of({dataset_of(5)}, 1, 8).restore(state), ConfigError);
  EXPECT_THROW(order_of({dataset_of(5)}).restore(past_the_end), ConfigError);
}

TEST(DataOrder, TakesOtherRowsWhereTheBoundsOfRecordsWereChanged) {
  DataOrder before = order_of({dataset_of(8), dataset_of(8)});
  before.next(6);  // 3 of each
  OrderedDataset fewer = dataset_of(7);
  fewer.fingerprint = 99;
  DataOrder after = order_of({dataset_of(8), fewer});

  EXPECT_THROW(after.restore(before.state()), ConfigError);
  EXPECT_THROW(after.restore(before.state(), {"other"}), ConfigError);
  after.restore(before.state(), {fewer.name});

  EXPECT_EQ(after.samples_drawn(), 6);
  EXPECT_EQ(after.state().cursors[0], before.state().cursors[0]);
  EXPECT_EQ(after.state().cursors[1],
            (DataOrder::State::Cursor{.epoch = 1, .position = 0, .n_rows = 7, .fingerprint = 99}));
  DataOrder again = order_of({dataset_of(8), fewer});
  again.restore(after.state());  // nothing differs any more
  EXPECT_EQ(again.next(9), after.next(9));
}

TEST(ShuffleGolden, IsAnotherOrderByDesign) {
  for (const char* section :
       {"shuffler_seeds", "seed_from_key", "permutation", "dataset_split", "sample_shuffled"}) {
    golden::leave_out_section("shuffle.json", section,
                              "rows are ordered by Philox, keyed by (seed, data set, epoch), not "
                              "by MT19937 seeded through SHA-256");
  }
}

}  // namespace
}  // namespace orrery::data
