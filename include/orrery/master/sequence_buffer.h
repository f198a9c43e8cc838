// Which samples are in flight, which keys each has, and which calls have read it. A call is ready
// when enough samples have all its input keys and were not yet read by it; it gets the oldest.
// Counts are kept as events arrive, so asking whether a call is ready costs nothing and taking a
// batch costs the batch. Keys, calls and rows are small integers; the metadata of a row lies in
// RowMetadata. Pure bookkeeping; main thread of the master.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/data/sample_id.h"

namespace orrery::master {

class SequenceBuffer {
 public:
  /// What one call reads: `n_seqs` samples that have all of `keys`.
  struct Reader {
    std::vector<int> keys;
    int64_t n_seqs = 0;
  };
  struct Taken {
    std::vector<int> rows;   ///< oldest first
    std::vector<int> freed;  ///< those of `rows` that every call has read by now: already empty
  };

  /// Room for `capacity` samples; `readers[c]` is call c; keys are numbers below `n_keys`.
  SequenceBuffer(int capacity, int n_keys, std::vector<Reader> readers);

  /// Puts samples that have `keys` into the lowest empty rows.
  ///   births   [ids.size()] all different; smaller is older
  ///   returns  [ids.size()] their rows
  /// Throws CallError when there is no room, or a sample is here already. Local.
  std::vector<int> put(std::span<const data::SampleId> ids, std::span<const int> keys,
                       std::span<const int64_t> births);

  /// Adds keys to the samples in `rows`; a key that is there stays. Throws CallError for an empty
  /// row. Local.
  void amend(std::span<const int> rows, std::span<const int> keys);

  bool is_ready(int call) const { return n_ready(call) >= readers_[base::index(call)].n_seqs; }
  /// Samples that have all keys of `call` and were not read by it.
  int64_t n_ready(int call) const {
    const ReadyList& list = ready_[base::index(call)];
    return static_cast<int64_t>(list.entries.size() - list.head);
  }
  /// Birth of the youngest sample that take(call, n) would return; nothing while there are not so
  /// many.
  std::optional<int64_t> youngest_of_next(int call, int64_t n);

  /// The oldest n samples that are ready for `call`; it will not get them again.
  /// Throws CallError when there are not so many. Local.
  Taken take(int call, int64_t n);
  /// The same for its n_seqs.
  std::optional<int64_t> youngest_of_next(int call) { return youngest_of_next(call, n_seqs(call)); }
  Taken take(int call) { return take(call, n_seqs(call)); }

  /// As if these calls had read the sample; some call must be left. Local.
  void pass_over(int row, std::span<const int> calls);

  /// Takes samples out that no call waits for any more, whoever has read them.
  /// Throws CallError for an empty row. Local.
  void remove(std::span<const int> rows);

  int size() const { return n_used_; }
  int capacity() const { return static_cast<int>(ids_.size()); }
  data::SampleId id(int row) const { return ids_[base::index(row)]; }
  int64_t birth(int row) const { return births_[base::index(row)]; }
  bool is_used(int row) const;
  bool has_key(int row, int key) const;

 private:
  struct Entry {
    int64_t birth;
    int row;
  };
  struct ReadyList {
    std::vector<Entry> entries;  // from `head` on: ready and unread
    size_t head = 0;
    bool sorted = true;
  };

  void forget_ready(int call, int row);
  int64_t n_seqs(int call) const { return readers_[base::index(call)].n_seqs; }
  void empty_row(int row);
  int lowest_empty_row();
  void push_ready(int call, int row);
  void sort_ready(ReadyList& list);

  int n_used_ = 0;
  int n_calls_ = 0;
  int words_per_row_ = 0;  // of key bits
  std::vector<Reader> readers_;
  std::vector<std::vector<int>> readers_of_key_;
  std::vector<data::SampleId> ids_;           // by row
  std::vector<int64_t> births_;               // by row
  std::vector<uint64_t> empty_bits_;          // bit r: row r is empty
  size_t first_word_with_empty_ = 0;          // no empty row before this word
  std::vector<uint64_t> key_bits_;            // [row][word]
  std::vector<uint16_t> missing_;             // [row][call] input keys that are not there yet
  std::vector<uint16_t> reads_;               // by row: calls that have read it
  std::vector<ReadyList> ready_;              // by call
  std::unordered_map<uint64_t, int> row_of_;  // by sample id
};

}  // namespace orrery::master
