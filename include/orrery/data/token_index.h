// The rows of a pre-tokenized dataset that tools/tokenize.py made (docs/data.md describes the
// format). Where a row lies says the file itself, so the index holds almost nothing, however many
// rows there are: their number, and which records they are if some are left out.
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

/// Whether `path` is read as a pre-tokenized dataset: it begins as HDF5 does, or is named .h5 or
/// .hdf5.
bool is_token_file(const std::string& path);

class TokenIndex {
 public:
  /// No row.
  TokenIndex() = default;

  /// Reads all of the file and checks it: its form, that it holds records of `dataset.kind`, that
  /// its tokens are those of `tokenizer`, and every record: ids that the vocabulary has, something
  /// in each part, the lengths against max_prompt_tokens and max_tokens, text that is UTF-8, and
  /// what `needs` asks for.
  /// Throws DataError: a file that is damaged or of another form; bad records, as
  /// JsonlIndex::build. Throws ConfigError for a tokenizer of other tokens and for options that
  /// would have to be applied before tokenising. Rank 0 only; one pass, in blocks.
  static TokenIndex build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                          const RecordNeeds& needs = {});

  const std::string& path() const { return path_; }
  int64_t n_rows() const { return n_rows_; }
  /// The number of a row's record in the file, from 0. Row in [0, n_rows).
  int64_t record(int64_t row) const { return records_.empty() ? row : records_[base::index(row)]; }
  int64_t file_size_bytes() const { return file_size_bytes_; }
  /// A hash of the usable records in their order and of the table of tokens.
  uint64_t fingerprint() const { return fingerprint_; }

  /// What the usable records have. Which had an instruction is not in the file.
  const RecordSummary& summary() const { return summary_; }

  const std::vector<RejectedRecord>& rejected() const { return rejected_.named(); }
  int64_t n_rejected() const { return rejected_.count(); }
  std::string report(std::size_t max_lines) const {
    return rejected_.report(path_, n_rows_, max_lines);
  }

  bool operator==(const TokenIndex&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(path_, n_rows_, records_, file_size_bytes_, fingerprint_, rejected_, summary_);
  }

 private:
  class Builder;

  std::string path_;
  int64_t n_rows_ = 0;
  std::vector<int64_t> records_;  // of the rows; empty: every record is a row
  int64_t file_size_bytes_ = 0;
  uint64_t fingerprint_ = 0;
  RejectedRecords rejected_;
  RecordSummary summary_;
};

}  // namespace orrery::data
