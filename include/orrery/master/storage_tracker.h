// Which worker holds which key of which sample, and who owns it (the producer). A sample is a slot
// (its row in the sequence buffer), a key a small integer, the holders a bit set over workers that
// lies in one block per key: planning walks these blocks in order. Pure bookkeeping; main thread of
// the master.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "orrery/base/index.h"

namespace orrery::master {

/// A set of workers as bits, as many words as the tracker's sets.
class WorkerSet {
 public:
  explicit WorkerSet(int n_workers) : words_(static_cast<size_t>(n_workers + 63) / 64) {}
  void insert(int worker) { words_[index(worker)] |= bit(worker); }
  bool contains(int worker) const { return (words_[index(worker)] & bit(worker)) != 0; }
  void clear() { words_.assign(words_.size(), 0); }
  std::span<const uint64_t> words() const { return words_; }
  /// Members, ascending.
  std::vector<int> members() const;

 private:
  static size_t index(int worker) { return static_cast<size_t>(worker) / 64; }
  static uint64_t bit(int worker) { return uint64_t{1} << (static_cast<unsigned>(worker) % 64); }
  std::vector<uint64_t> words_;
};

enum class Ownership { kCopy, kOwner };

class StorageTracker {
 public:
  /// Slots are numbers below `n_slots`, workers below `n_workers`.
  StorageTracker(int n_workers, int n_slots);

  /// `worker` now holds `key` of these samples; kOwner makes it their owner (the last one wins).
  void add(int worker, std::span<const int> slots, int key, Ownership ownership);
  /// All of `workers` now hold copies of `key` of these samples.
  void add(const WorkerSet& workers, std::span<const int> slots, int key);
  /// Nobody holds or owns anything of these samples any more.
  void clear(std::span<const int> slots);

  bool holds(int worker, int slot, int key) const;
  /// Owner, or -1.
  int owner(int slot, int key) const;
  /// Bits of the workers that hold it, [n_words()]; empty for a key that was never added.
  std::span<const uint64_t> holders(int slot, int key) const;
  bool knows(int key) const {
    return key >= 0 && key < n_keys() && !columns_[base::index(key)].owner.empty();
  }

  /// By worker: those of `slots` of which it holds any key, in the order of `slots`.
  std::vector<std::vector<int>> slots_by_worker(std::span<const int> slots) const;

  int n_workers() const { return n_workers_; }
  int n_slots() const { return n_slots_; }
  int n_words() const { return n_words_; }
  int n_keys() const { return static_cast<int>(columns_.size()); }

 private:
  struct Column {
    std::vector<uint64_t> holders;  // [slot][word]
    std::vector<int> owner;         // by slot, -1: none; empty: key never seen
  };
  Column& column(int key);

  int n_workers_ = 0;
  int n_slots_ = 0;
  int n_words_ = 0;
  std::vector<Column> columns_;  // by key
};

}  // namespace orrery::master
