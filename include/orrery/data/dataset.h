// The rows of one data set as token sequences, on a worker. Rows are read when they are asked for;
// a thread reads and tokenises ahead what the master has announced, so that loading a step costs no
// more than putting its tensors together.
//
// Keys by kind of data set:
//   prompts      packed_prompts    [tokens] int64  the prompt
//                answers           [bytes]  uint8  text of the answer; no byte when there is none
//                fields            [bytes]  uint8  JSON object of the record's other fields
//                prompt_texts      [bytes]  uint8  the prompt as the record has it, without
//                template;
//                                                  no byte of a pre-tokenized dataset
//   completions  packed_input_ids  [tokens] int64  prompt, completion, end token
//                prompt_mask       [tokens] bool   1 on the prompt
//   preferences  the same, two sequences a sample: with the better answer, with the worse one
//                margins           [1]      fp32   how much better; 0 without a field that says so
//   labelled     as completions, and
//                desirable         [1]      bool   whether the answer is good
//                kl_input_ids, kl_prompt_mask      as packed_input_ids and prompt_mask, with the
//                                                  answer to another prompt of the data set
//
// Beside its keys each sample has the extra kRecordOfSample.
//
// Thread of use: one (the worker's main thread); the thread that reads ahead is its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "orrery/config/experiment.h"  // DatasetConfig
#include "orrery/data/dataset_index.h"
#include "orrery/data/sample_id.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class RowReader;

/// Name under which a sample says where it comes from, as a JSON object: {"line":12,"id":"a7"}, the
/// line of its data file (of a pre-tokenized dataset: the number of the record) from 1 and, of
/// prompts, the record's id as the record has it, if it has one.
inline constexpr const char* kRecordOfSample = "record";

class Dataset {
 public:
  /// `tokenizer` must outlive the data set. Throws DataError when the file cannot be opened or has
  /// another size than when the index was built.
  static std::unique_ptr<Dataset> open(const config::DatasetConfig& dataset, DatasetIndex index,
                                       const Tokenizer& tokenizer);
  ~Dataset();

  int64_t n_rows() const { return facts_.n_rows; }

  /// One sample for each row, in this order, on the CPU; rows[i] gets ids[i].
  /// Throws CallError for a row that does not exist and DataError naming file:line for one that is
  /// no longer what it was.
  SequenceBatch read(std::span<const int64_t> rows, std::span<const SampleId> ids);

  /// Reads these rows ahead, in this order, on another thread. What was announced before and not
  /// read yet is kept only if it is announced again. Returns at once; errors come with read().
  void announce(std::span<const int64_t> rows);

  /// Rows that read() found ready, and rows that it had to read itself.
  struct Counts {
    int64_t ready = 0;
    int64_t read_late = 0;
  };
  Counts counts() const { return counts_; }

 private:
  class Prefetcher;
  struct Facts {
    std::string path;
    int64_t n_rows = 0;
    config::DatasetKind kind = {};
    std::string id_field;  // empty: records have no id
  };
  Dataset(Facts facts, std::unique_ptr<RowReader> reader);

  Facts facts_;
  std::unique_ptr<RowReader> reader_;
  std::unique_ptr<Prefetcher> prefetcher_;  // uses the reader: destroyed first
  Counts counts_;
};

}  // namespace orrery::data
