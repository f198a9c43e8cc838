// Lengths and types of what the samples in the sequence buffer hold, by (row, key). A row only
// refers into the metadata with which its key arrived, so nothing is copied until a batch is put
// together. Pure bookkeeping; main thread of the master.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "orrery/data/batch_metadata.h"

namespace orrery::master {

class RowMetadata {
 public:
  explicit RowMetadata(int n_rows) : n_rows_(n_rows) {}

  /// Sample i of `metadata` belongs to rows[i]; replaces what these rows had under `key`.
  /// Throws CallError when the numbers of rows and samples differ. Local.
  void record(std::span<const int> rows, int key, const data::KeyMetadata& metadata);
  /// Per-sample texts by name: [name][i] belongs to rows[i].
  void record_extra(std::span<const int> rows,
                    const std::map<std::string, std::vector<std::string>>& extra);

  /// Metadata of `key` for these samples, in this order.
  /// Throws CallError when a row lacks the key, or two rows differ in type or shape. Local.
  data::KeyMetadata assemble(std::span<const int> rows, int key) const;
  /// Texts that any of these rows has; "null" where one has none.
  std::map<std::string, std::vector<std::string>> assemble_extra(std::span<const int> rows) const;

  /// Elements of the sequences of a sample, trailing dimensions not counted.
  int64_t elements(int row, int key) const;
  int64_t bytes(int row, int key) const;

  /// Forgets everything of these rows.
  void forget(std::span<const int> rows);

 private:
  /// Metadata as it arrived, kept while rows refer to it.
  struct Chunk {
    data::KeyMetadata metadata;
    int64_t element_bytes = 0;  // of one element with its trailing dimensions
    int references = 0;
  };
  struct Cell {
    int chunk = -1;
    int index = 0;
  };

  const Cell& cell(int row, int key) const;
  void drop(Cell& cell);

  int n_rows_;
  std::vector<Chunk> chunks_;
  std::vector<int> free_chunks_;
  std::vector<std::vector<Cell>> columns_;  // [key][row]; a column is empty until first used
  std::map<std::string, std::vector<std::string>> extra_;  // [name][row], "" = none
};

}  // namespace orrery::master
