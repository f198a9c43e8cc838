// Single rows of a data file as token sequences, whatever the format. What a row becomes is the
// same for all: dataset.cpp packs rows into tensors.
// Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "orrery/config/dataset_kind.h"
#include "orrery/config/experiment.h"
#include "orrery/data/dataset_index.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

/// A row ready to be packed.
struct TokenizedRow {
  std::vector<int32_t> tokens;   // one sequence behind another: prompt, completion and end token
  std::vector<int32_t> lengths;  // of the sequences
  std::size_t n_prompt = 0;      // of each sequence
  std::string prompt;  // of kind prompts: as the record has it; empty: of a pre-tokenized dataset
  std::string answer;
  std::string fields;    // JSON object of the record's other fields
  double margin = 0;     // of kind preferences
  bool is_good = false;  // of kind labelled
  // Of kind labelled: the same prompt with the answer of another one, as one more sequence.
  std::vector<int32_t> mismatched;
  int64_t line = 0;  // of the data file, from 1; of a pre-tokenized dataset the record's number

  /// A sequence of this prompt and what follows it.
  void add_sequence(std::span<const int32_t> prompt, std::span<const int32_t> completion,
                    int32_t end_token);
};

class RowReader {
 public:
  virtual ~RowReader() = default;
  /// Row in [0, n_rows). Throws DataError naming the record when it is no longer what it was.
  virtual TokenizedRow read(int64_t row) const = 0;
};

/// Of a file that is what it was when the index was made: DataError otherwise. `tokenizer` must
/// outlive the reader.
std::unique_ptr<RowReader> open_jsonl_rows(const config::DatasetConfig& dataset, JsonlIndex index,
                                           const Tokenizer& tokenizer);
std::unique_ptr<RowReader> open_token_rows(TokenIndex index, const Tokenizer& tokenizer);

/// The error of a file whose size is not the index's.
[[noreturn]] void throw_changed_size(const std::string& path, int64_t expected, int64_t got);

}  // namespace orrery::data
