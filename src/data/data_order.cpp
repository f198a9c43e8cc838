#include "orrery/data/data_order.h"

#include <algorithm>  // find
#include <cmath>      // ceil
#include <limits>
#include <numeric>  // iota
#include <utility>  // swap, move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/index.h"
#include "orrery/base/philox.h"
#include "orrery/base/text.h"  // concat

namespace orrery::data {

namespace {

using base::concat;

// Streams of the experiment's seed are told apart by their highest byte; this one is ours.
constexpr uint64_t kShuffleStream = uint64_t{0x5A} << 56;

double share(const OrderedDataset& dataset, const std::vector<OrderedDataset>& all) {
  double sum = 0;
  for (const OrderedDataset& other : all) {
    sum += dataset.weight > 0 ? other.weight : static_cast<double>(other.n_rows);
  }
  return (dataset.weight > 0 ? dataset.weight : static_cast<double>(dataset.n_rows)) / sum;
}

void check(const std::vector<OrderedDataset>& datasets, int64_t samples_per_step) {
  if (datasets.empty()) {
    throw ConfigError(
        "data order: no data set",
        {.expected = "at least one [dataset.NAME] section", .got = "none", .advice = {}});
  }
  const bool has_weights = datasets[0].weight > 0;
  for (const OrderedDataset& dataset : datasets) {
    if (dataset.weight < 0 || (dataset.weight > 0) != has_weights) {
      throw ConfigError(concat("data set ", dataset.name, ": weight ", dataset.weight),
                        {.expected = "positive weights for all data sets, or 0 for all",
                         .got = concat(dataset.weight),
                         .advice = "weight 0 everywhere mixes in proportion to the rows"});
    }
    if (dataset.n_rows > std::numeric_limits<uint32_t>::max()) {
      throw ConfigError(
          concat("data set ", dataset.name, ": too many rows"),
          {.expected = "fewer than 2^32", .got = concat(dataset.n_rows), .advice = {}});
    }
  }
  for (const OrderedDataset& dataset : datasets) {
    const double fraction = dataset.n_rows == 0 ? 1.0 : share(dataset, datasets);
    const auto needed =
        static_cast<int64_t>(std::ceil(fraction * static_cast<double>(samples_per_step) - 1e-9));
    if (dataset.n_rows < needed || dataset.n_rows == 0) {
      throw ConfigError(
          concat("data set ", dataset.name, " is smaller than a step"),
          {.expected = concat("at least ", needed, " usable rows, its share of the ",
                              base::counted(samples_per_step, "sample"), " of a step"),
           .got = concat(dataset.n_rows),
           .advice = concat("lower n_seqs to ", dataset.n_rows, " or less, or add data")});
    }
  }
}

}  // namespace

std::vector<uint32_t> epoch_permutation(uint64_t seed, int32_t dataset, int64_t epoch, uint32_t n) {
  const uint64_t stream =
      kShuffleStream | (static_cast<uint64_t>(dataset) << 40) | static_cast<uint64_t>(epoch);
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  for (uint32_t i = n; i-- > 1;) {
    const uint64_t other = base::philox_below(seed, stream, i, uint64_t{i} + 1);
    std::swap(order[i], order[static_cast<size_t>(other)]);
  }
  return order;
}

DataOrder::DataOrder(std::vector<OrderedDataset> datasets, DataOrderOptions options)
    : datasets_(std::move(datasets)), options_(options) {
  check(datasets_, options_.samples_per_step);
  state_.seed = options_.seed;
  for (const OrderedDataset& dataset : datasets_) {
    n_rows_ += dataset.n_rows;
    state_.cursors.push_back(
        {.epoch = 0, .position = 0, .n_rows = dataset.n_rows, .fingerprint = dataset.fingerprint});
  }
  permutations_.resize(datasets_.size());
}

std::size_t DataOrder::most_behind() const {
  if (datasets_.size() == 1) return 0;
  std::size_t chosen = 0;
  if (datasets_[0].weight == 0) {
    // Behind by rows * (t + 1) / all rows - drawn, kept exact: epochs must end together.
    __int128 most = 0;
    for (std::size_t i = 0; i < datasets_.size(); ++i) {
      const State::Cursor& cursor = state_.cursors[i];
      const auto rows = static_cast<__int128>(datasets_[i].n_rows);
      const __int128 drawn = rows * cursor.epoch + cursor.position;
      const __int128 behind = rows * static_cast<__int128>(state_.next_id) - drawn * n_rows_;
      if (i == 0 || behind > most) {
        most = behind;
        chosen = i;
      }
    }
    return chosen;
  }
  double most = 0;
  for (std::size_t i = 0; i < datasets_.size(); ++i) {
    const State::Cursor& cursor = state_.cursors[i];
    const double drawn = static_cast<double>(cursor.epoch) * static_cast<double>(cursor.n_rows) +
                         static_cast<double>(cursor.position);
    const double behind =
        share(datasets_[i], datasets_) * static_cast<double>(state_.next_id) - drawn;
    if (i == 0 || behind > most) {
      most = behind;
      chosen = i;
    }
  }
  return chosen;
}

int64_t DataOrder::take_row(std::size_t dataset) {
  State::Cursor& cursor = state_.cursors[dataset];
  std::vector<uint32_t>& permutation = permutations_[dataset];
  if (permutation.empty()) {
    permutation = epoch_permutation(options_.seed, static_cast<int32_t>(dataset), cursor.epoch,
                                    static_cast<uint32_t>(datasets_[dataset].n_rows));
  }
  const int64_t row = permutation[base::index(cursor.position)];
  if (++cursor.position == datasets_[dataset].n_rows) {
    cursor.position = 0;
    ++cursor.epoch;
    permutation.clear();
  }
  return row;
}

std::vector<double> DataOrder::shares() const {
  std::vector<double> result;
  for (const OrderedDataset& dataset : datasets_) result.push_back(share(dataset, datasets_));
  return result;
}

std::vector<RowRef> DataOrder::next(int64_t n) {
  std::vector<RowRef> rows;
  rows.reserve(static_cast<std::size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const std::size_t dataset = most_behind();
    const int64_t epoch = state_.cursors[dataset].epoch;  // before it may move on
    const int64_t row = take_row(dataset);
    rows.push_back({.dataset = static_cast<int32_t>(dataset),
                    .row = row,
                    .epoch = epoch,
                    .id = {state_.next_id}});
    ++state_.next_id;
  }
  return rows;
}

void DataOrder::restore(const State& state, const std::vector<std::string>& may_differ) {
  if (state.cursors.size() != datasets_.size() || state.seed != options_.seed) {
    throw ConfigError("data order: the checkpoint belongs to another experiment",
                      {.expected = concat(state.cursors.size(), " data sets and seed ", state.seed),
                       .got = concat(datasets_.size(), " data sets and seed ", options_.seed),
                       .advice = "restore the configuration, or start with --resume off"});
  }
  State restored = state;
  for (std::size_t i = 0; i < datasets_.size(); ++i) {
    State::Cursor& cursor = restored.cursors[i];
    const OrderedDataset& dataset = datasets_[i];
    const bool is_same = cursor.n_rows == dataset.n_rows &&
                         cursor.fingerprint == dataset.fingerprint && cursor.position >= 0 &&
                         cursor.position < dataset.n_rows && cursor.epoch >= 0;
    const bool may_change =
        std::find(may_differ.begin(), may_differ.end(), dataset.name) != may_differ.end();
    if (!is_same && may_change && cursor.epoch >= 0) {
      cursor = {.epoch = cursor.epoch + (cursor.position > 0 ? 1 : 0),
                .position = 0,
                .n_rows = dataset.n_rows,
                .fingerprint = dataset.fingerprint};
    } else if (!is_same) {
      throw ConfigError(
          concat("data set ", dataset.name, " changed since the checkpoint"),
          {.expected =
               concat(base::counted(cursor.n_rows, "row"), ", content ", cursor.fingerprint),
           .got = concat(base::counted(dataset.n_rows, "row"), ", content ", dataset.fingerprint),
           .advice = "restore the file, or start with --resume off"});
    }
  }
  state_ = std::move(restored);
  for (std::vector<uint32_t>& permutation : permutations_) permutation.clear();
}

}  // namespace orrery::data
