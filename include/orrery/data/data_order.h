// Which row of which data set comes next. The master owns the order; workers only read the rows
// that they are told to. The order is a function of the seed and of how many samples were drawn
// before, so that a resumed job goes on with exactly the samples that it would have drawn.
//
// Each data set is gone through in epochs: every epoch is one permutation of its rows (keyed by
// seed, data set and epoch), and what an epoch has left when a step begins is used up before the
// next epoch begins. Several data sets are mixed by their weights: at every draw the one that is
// farthest behind its share. With shares proportional to the rows, all data sets end their epochs
// together.
// Rank 0, main thread of the master.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/data/row_ref.h"

namespace orrery::data {

struct OrderedDataset {
  std::string name;
  int64_t n_rows = 0;
  double weight = 0;         // 0 for all data sets: proportional to their rows
  uint64_t fingerprint = 0;  // of its content; 0: unknown
};

struct DataOrderOptions {
  uint64_t seed = 1;
  int64_t samples_per_step = 1;  // drawn at once: no step may need a row twice
};

class DataOrder {
 public:
  /// What a checkpoint keeps.
  struct State {
    struct Cursor {
      int64_t epoch = 0;     // of the next row
      int64_t position = 0;  // in that epoch's permutation
      int64_t n_rows = 0;    // to notice that the data changed
      uint64_t fingerprint = 0;

      bool operator==(const Cursor&) const = default;
      template <class Archive>
      void serialize(Archive& archive) {
        archive(epoch, position, n_rows, fingerprint);
      }
    };
    std::vector<Cursor> cursors;  // one for each data set
    uint64_t next_id = 1;         // handle of the next sample: 0 is never given out
    uint64_t seed = 0;

    bool operator==(const State&) const = default;
    template <class Archive>
    void serialize(Archive& archive) {
      archive(cursors, next_id, seed);
    }
  };

  /// Throws ConfigError when there is no data set, one has fewer rows than its share of a step, or
  /// only some have weights.
  DataOrder(std::vector<OrderedDataset> datasets, DataOrderOptions options);

  /// The next n samples. O(n * data sets), and O(rows) once for each epoch.
  std::vector<RowRef> next(int64_t n);

  /// Of each data set: its part of the samples that are drawn, by weight or by rows.
  std::vector<double> shares() const;
  /// Rows of all data sets: the number of samples that counts as one epoch of the experiment.
  int64_t samples_per_epoch() const { return n_rows_; }
  /// Samples given out so far.
  int64_t samples_drawn() const { return static_cast<int64_t>(state_.next_id) - 1; }

  const State& state() const { return state_; }
  /// Goes on where `state` was taken. Data sets named in `may_differ` may have other rows than
  /// then, because the bounds of their records were changed: such a one begins its next epoch.
  /// Throws ConfigError when it belongs to other data sets, to changed ones, or to another seed.
  void restore(const State& state, const std::vector<std::string>& may_differ = {});

 private:
  std::size_t most_behind() const;
  int64_t take_row(std::size_t dataset);

  std::vector<OrderedDataset> datasets_;
  DataOrderOptions options_;
  int64_t n_rows_ = 0;
  State state_;
  std::vector<std::vector<uint32_t>> permutations_;  // of each cursor's epoch; empty: not made yet
};

/// Permutation of 0 .. n - 1 (Fisher-Yates) for one epoch of one data set.
std::vector<uint32_t> epoch_permutation(uint64_t seed, int32_t dataset, int64_t epoch, uint32_t n);

}  // namespace orrery::data
