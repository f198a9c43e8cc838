#include "orrery/master/storage_tracker.h"

#include <algorithm>
#include <bit>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

std::vector<int> WorkerSet::members() const {
  std::vector<int> members;
  for (size_t i = 0; i < words_.size(); ++i) {
    for (uint64_t word = words_[i]; word != 0; word &= word - 1) {
      members.push_back(static_cast<int>(i * 64) + std::countr_zero(word));
    }
  }
  return members;
}

StorageTracker::StorageTracker(int n_workers, int n_slots)
    : n_workers_(n_workers), n_slots_(n_slots), n_words_((n_workers + 63) / 64) {}

StorageTracker::Column& StorageTracker::column(int key) {
  if (key >= n_keys()) columns_.resize(base::index(key) + 1);
  Column& column = columns_[base::index(key)];
  if (column.owner.empty()) {
    column.holders.assign(base::index(n_slots_) * base::index(n_words_), 0);
    column.owner.assign(base::index(n_slots_), -1);
  }
  return column;
}

void StorageTracker::add(int worker, std::span<const int> slots, int key, Ownership ownership) {
  if (worker < 0 || worker >= n_workers_) {
    throw CallError("storage tracker: unknown worker",
                    {.expected = base::concat("0 to ", n_workers_ - 1),
                     .got = base::concat(worker),
                     .advice = {}});
  }
  Column& column = this->column(key);
  const uint64_t bit = uint64_t{1} << (base::index(worker) % 64);
  for (const int slot : slots) {
    column.holders[base::index(slot) * base::index(n_words_) + base::index(worker) / 64] |= bit;
    if (ownership == Ownership::kOwner) column.owner[base::index(slot)] = worker;
  }
}

void StorageTracker::add(const WorkerSet& workers, std::span<const int> slots, int key) {
  Column& column = this->column(key);
  const std::span<const uint64_t> words = workers.words();
  for (const int slot : slots) {
    uint64_t* const row = column.holders.data() + base::index(slot) * base::index(n_words_);
    for (size_t i = 0; i < words.size(); ++i) row[i] |= words[i];
  }
}

void StorageTracker::clear(std::span<const int> slots) {
  for (Column& column : columns_) {
    if (column.owner.empty()) continue;
    for (const int slot : slots) {
      std::fill_n(column.holders.begin() +
                      static_cast<std::ptrdiff_t>(base::index(slot) * base::index(n_words_)),
                  n_words_, 0);
      column.owner[base::index(slot)] = -1;
    }
  }
}

bool StorageTracker::holds(int worker, int slot, int key) const {
  const std::span<const uint64_t> bits = holders(slot, key);
  return !bits.empty() && ((bits[base::index(worker) / 64] >> (base::index(worker) % 64)) & 1) != 0;
}

int StorageTracker::owner(int slot, int key) const {
  return knows(key) ? columns_[base::index(key)].owner[base::index(slot)] : -1;
}

std::span<const uint64_t> StorageTracker::holders(int slot, int key) const {
  if (!knows(key)) return {};
  return {columns_[base::index(key)].holders.data() + base::index(slot) * base::index(n_words_),
          base::index(n_words_)};
}

std::vector<std::vector<int>> StorageTracker::slots_by_worker(std::span<const int> slots) const {
  std::vector<std::vector<int>> result(base::index(n_workers_));
  std::vector<uint64_t> any(base::index(n_words_));
  for (const int slot : slots) {
    std::fill(any.begin(), any.end(), 0);
    for (const Column& column : columns_) {
      if (column.owner.empty()) continue;
      const uint64_t* const row = column.holders.data() + base::index(slot) * base::index(n_words_);
      for (size_t i = 0; i < any.size(); ++i) any[i] |= row[i];
    }
    for (size_t i = 0; i < any.size(); ++i) {
      for (uint64_t word = any[i]; word != 0; word &= word - 1) {
        result[i * 64 + static_cast<size_t>(std::countr_zero(word))].push_back(slot);
      }
    }
  }
  return result;
}

}  // namespace orrery::master
