// Sequence buffer and storage tracker against plain references that look everything up from
// scratch, on random histories.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "orrery/base/error.h"
#include "orrery/master/sequence_buffer.h"
#include "orrery/master/storage_tracker.h"
#include "random_for_test.h"

namespace orrery::master {
namespace {

size_t at(int index) { return static_cast<size_t>(index); }

/// The definition: rows as they are, every question answered by looking at all of them.
class PlainBuffer {
 public:
  PlainBuffer(int capacity, std::vector<SequenceBuffer::Reader> readers)
      : rows_(at(capacity)), readers_(std::move(readers)) {}

  std::vector<int> put(const std::vector<data::SampleId>& ids, const std::vector<int>& keys,
                       const std::vector<int64_t>& births) {
    std::vector<int> placed;
    for (size_t i = 0; i < ids.size(); ++i) {
      for (size_t row = 0; row < rows_.size(); ++row) {
        if (rows_[row].used) continue;
        rows_[row] = {true, births[i], {keys.begin(), keys.end()}, {}};
        placed.push_back(static_cast<int>(row));
        break;
      }
    }
    return placed;
  }

  void amend(const std::vector<int>& rows, const std::vector<int>& keys) {
    for (const int row : rows) rows_[at(row)].keys.insert(keys.begin(), keys.end());
  }

  std::vector<int> ready_rows(int call) const {
    std::vector<std::pair<int64_t, int>> ready;
    for (size_t row = 0; row < rows_.size(); ++row) {
      const Row& sample = rows_[row];
      if (!sample.used || sample.readers.contains(call)) continue;
      const std::vector<int>& keys = readers_[at(call)].keys;
      if (std::all_of(keys.begin(), keys.end(),
                      [&](int key) { return sample.keys.contains(key); })) {
        ready.emplace_back(sample.birth, static_cast<int>(row));
      }
    }
    std::sort(ready.begin(), ready.end());
    std::vector<int> result;
    for (const auto& [birth, row] : ready) result.push_back(row);
    return result;
  }

  std::vector<int> take(int call) {
    std::vector<int> rows = ready_rows(call);
    rows.resize(static_cast<size_t>(readers_[at(call)].n_seqs));
    for (const int row : rows) {
      rows_[at(row)].readers.insert(call);
      if (rows_[at(row)].readers.size() == readers_.size()) rows_[at(row)] = {};
    }
    return rows;
  }

  std::vector<int> used() const {
    std::vector<int> rows;
    for (size_t row = 0; row < rows_.size(); ++row) {
      if (rows_[row].used) rows.push_back(static_cast<int>(row));
    }
    return rows;
  }

 private:
  struct Row {
    bool used = false;
    int64_t birth = 0;
    std::set<int> keys;
    std::set<int> readers;
  };
  std::vector<Row> rows_;
  std::vector<SequenceBuffer::Reader> readers_;
};

TEST(SequenceBuffer, AgreesWithThePlainReferenceOnRandomHistories) {
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Random random(round);
    const int n_keys = random.between(1, 70);  // more than one word of bits
    const int capacity = random.between(1, 90);
    std::vector<SequenceBuffer::Reader> readers(at(random.between(1, 5)));
    for (SequenceBuffer::Reader& reader : readers) {
      reader.n_seqs = random.between(1, 4);
      for (int n = random.between(1, 3); n > 0; --n) {
        reader.keys.push_back(random.between(0, n_keys - 1));
      }
    }
    SequenceBuffer buffer(capacity, n_keys, readers);
    PlainBuffer plain(capacity, readers);
    uint64_t next_id = 0;
    std::vector<int64_t> births;
    for (int i = 0; i < 400; ++i) births.push_back(i);
    random.shuffle(births);

    for (int event = 0; event < 150; ++event) {
      const int call = random.between(0, static_cast<int>(readers.size()) - 1);
      std::vector<int> keys;
      for (int n = random.between(0, n_keys); n > 0; --n) {
        keys.push_back(random.between(0, n_keys - 1));
      }
      const int choice = random.between(0, 3);
      if (choice == 0 && capacity > buffer.size()) {
        std::vector<data::SampleId> ids;
        std::vector<int64_t> own_births;
        for (int n = random.between(0, std::min(4, capacity - buffer.size())); n > 0; --n) {
          if (births.empty()) break;
          ids.push_back({next_id++});
          own_births.push_back(births.back());
          births.pop_back();
        }
        ASSERT_EQ(buffer.put(ids, keys, own_births), plain.put(ids, keys, own_births));
      } else if (choice == 1) {
        std::vector<int> rows = plain.used();
        random.shuffle(rows);
        rows.resize(rows.size() / 2);
        buffer.amend(rows, keys);
        plain.amend(rows, keys);
      } else if (buffer.is_ready(call)) {
        const auto n = static_cast<size_t>(readers[at(call)].n_seqs);
        const int last = plain.ready_rows(call)[n - 1];
        EXPECT_EQ(buffer.youngest_of_next(call), buffer.birth(last));
        ASSERT_EQ(buffer.take(call).rows, plain.take(call));
      }
      ASSERT_EQ(buffer.size(), static_cast<int>(plain.used().size()));
      for (size_t c = 0; c < readers.size(); ++c) {
        ASSERT_EQ(buffer.n_ready(static_cast<int>(c)),
                  static_cast<int64_t>(plain.ready_rows(static_cast<int>(c)).size()));
      }
    }
  }
}

TEST(SequenceBuffer, RefusesWhatDoesNotFit) {
  SequenceBuffer buffer(2, 1, {{{0}, 1}});
  const std::vector<data::SampleId> three = {{1}, {2}, {3}};
  const std::vector<data::SampleId> same_id_twice = {{4}, {4}};

  EXPECT_THROW(buffer.put(three, {}, std::vector<int64_t>{1, 2, 3}), CallError);
  EXPECT_EQ(buffer.size(), 0);
  EXPECT_THROW(buffer.put(same_id_twice, {}, std::vector<int64_t>{1}), CallError);
  EXPECT_THROW(buffer.put(same_id_twice, {}, std::vector<int64_t>{1, 2}), CallError);
  EXPECT_THROW(buffer.amend(std::vector<int>{1}, std::vector<int>{0}), CallError);
  EXPECT_THROW(buffer.take(0), CallError);
}

TEST(StorageTracker, AgreesWithAMapOnRandomHistories) {
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Random random(round);
    const int n_workers = random.between(1, 140);
    const int n_slots = random.between(1, 20);
    StorageTracker tracker(n_workers, n_slots);
    std::map<std::pair<int, int>, std::set<int>> holders;  // (slot, key)
    std::map<std::pair<int, int>, int> owner;

    for (int event = 0; event < 60; ++event) {
      std::vector<int> slots;
      for (int slot = 0; slot < n_slots; ++slot) {
        if (random.chance(40)) slots.push_back(slot);
      }
      const int key = random.between(0, 3);
      if (random.chance(15)) {
        tracker.clear(slots);
        for (const int slot : slots) {
          for (int k = 0; k < 4; ++k) {
            holders.erase({slot, k});
            owner.erase({slot, k});
          }
        }
        continue;
      }
      const int worker = random.between(0, n_workers - 1);
      const bool owns = random.chance(50);
      tracker.add(worker, slots, key, owns ? Ownership::kOwner : Ownership::kCopy);
      for (const int slot : slots) {
        holders[{slot, key}].insert(worker);
        if (owns) owner[{slot, key}] = worker;
      }
    }

    std::vector<int> all;
    for (int slot = 0; slot < n_slots; ++slot) {
      all.push_back(slot);
      for (int key = 0; key < 4; ++key) {
        const auto found = owner.find({slot, key});
        ASSERT_EQ(tracker.owner(slot, key), found == owner.end() ? -1 : found->second);
        for (int worker = 0; worker < n_workers; ++worker) {
          const std::set<int>& held = holders[{slot, key}];
          ASSERT_EQ(tracker.holds(worker, slot, key), held.contains(worker));
        }
      }
    }
    const std::vector<std::vector<int>> by_worker = tracker.slots_by_worker(all);
    for (int worker = 0; worker < n_workers; ++worker) {
      for (int slot = 0; slot < n_slots; ++slot) {
        bool any = false;
        for (int key = 0; key < 4; ++key) any = any || holders[{slot, key}].contains(worker);
        const std::vector<int>& own = by_worker[at(worker)];
        ASSERT_EQ(std::find(own.begin(), own.end(), slot) != own.end(), any);
      }
    }
  }
}

}  // namespace
}  // namespace orrery::master
