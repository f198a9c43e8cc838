// Where the records of a JSON lines file lie. Rank 0 reads the file once at start, names every
// record that cannot be used, and sends the index to the workers, which then read only the rows
// they are told to. The index holds offsets, not records: 20 bytes a row.
//
// Accepted: \n or \r\n line ends, a last line without one, blank lines at the end, a byte order
// mark at the beginning. Not accepted: anything but UTF-8, NUL bytes, blank lines in between.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/config/experiment.h"  // DatasetConfig
#include "orrery/data/record_needs.h"
#include "orrery/data/rejected_records.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class JsonlIndex {
 public:
  /// No row.
  JsonlIndex() = default;

  /// Reads the file and checks every record: its JSON, its fields, duplicate ids, the lengths in
  /// tokens against max_prompt_tokens and (completions) max_tokens, and what `needs` asks for.
  /// Throws DataError when the file cannot be read or has no usable record, and, with
  /// `on_bad_record = fail`, when any record is bad: one error that names all of them (the first
  /// twenty in full) as file:line. With `skip` bad ones are left out: see rejected().
  /// Rank 0 only. One pass over the file: 500,000 records of 110 bytes a second (bench_data,
  /// index_file, on a 2.6 GHz core).
  static JsonlIndex build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                          const RecordNeeds& needs = {});

  const std::string& path() const { return path_; }
  int64_t n_rows() const { return static_cast<int64_t>(offsets_.size()); }
  /// First byte and number of bytes of a row's line, without its line end. Row in [0, n_rows).
  int64_t offset(int64_t row) const { return offsets_[base::index(row)]; }
  int32_t size_bytes(int64_t row) const { return sizes_[base::index(row)]; }
  /// Line number in the file, from 1.
  int64_t line(int64_t row) const { return lines_[base::index(row)]; }

  int64_t file_size_bytes() const { return file_size_bytes_; }
  /// A hash of the usable records in their order: equal for equal data, wherever the file is.
  uint64_t fingerprint() const { return fingerprint_; }

  /// What the usable records have.
  const RecordSummary& summary() const { return summary_; }

  /// The first bad records (at most kMaxNamed), and how many there are.
  static constexpr std::size_t kMaxNamed = RejectedRecords::kMaxNamed;
  const std::vector<RejectedRecord>& rejected() const { return rejected_.named(); }
  int64_t n_rejected() const { return rejected_.count(); }
  std::string report(std::size_t max_lines) const {
    return rejected_.report(path_, n_rows(), max_lines);
  }

  bool operator==(const JsonlIndex&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(path_, offsets_, sizes_, lines_, file_size_bytes_, fingerprint_, rejected_, summary_);
  }

 private:
  class Builder;

  std::string path_;
  std::vector<int64_t> offsets_;
  std::vector<int32_t> sizes_;
  std::vector<int64_t> lines_;
  int64_t file_size_bytes_ = 0;
  uint64_t fingerprint_ = 0;
  RejectedRecords rejected_;
  RecordSummary summary_;
};

}  // namespace orrery::data
