#include "orrery/data/dataset.h"

#include <ATen/ATen.h>  // precompiled

#include <algorithm>  // copy, fill_n, find
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>  // move

#include "json_record.h"        // record_kind
#include "orrery/base/error.h"  // CallError
#include "orrery/base/json.h"
#include "orrery/base/serial_executor.h"
#include "orrery/base/text.h"  // concat
#include "row_reader.h"

namespace orrery::data {

namespace {

using base::concat;

at::Tensor packed_tokens(const std::vector<TokenizedRow>& rows, int64_t total) {
  at::Tensor packed = at::empty({total}, at::kLong);
  auto* out = packed.mutable_data_ptr<int64_t>();
  for (const TokenizedRow& row : rows) out = std::copy(row.tokens.begin(), row.tokens.end(), out);
  return packed;
}

at::Tensor packed_text(const std::vector<TokenizedRow>& rows, std::string TokenizedRow::*text,
                       int64_t total) {
  at::Tensor packed = at::empty({total}, at::kByte);
  auto* out = packed.mutable_data_ptr<uint8_t>();
  for (const TokenizedRow& row : rows) {
    out = std::copy((row.*text).begin(), (row.*text).end(), out);
  }
  return packed;
}

/// kl_input_ids and kl_prompt_mask of rows of kind labelled.
void add_mismatched(const std::vector<TokenizedRow>& rows, SequenceBatch& batch) {
  NestedLengths lengths;
  for (const TokenizedRow& row : rows) {
    lengths.add_sample(static_cast<int32_t>(row.mismatched.size()));
  }
  at::Tensor tokens = at::empty({lengths.grand_total()}, at::kLong);
  at::Tensor mask = at::zeros({lengths.grand_total()}, at::kBool);
  auto* token = tokens.mutable_data_ptr<int64_t>();
  bool* is_prompt = mask.mutable_data_ptr<bool>();
  for (const TokenizedRow& row : rows) {
    token = std::copy(row.mismatched.begin(), row.mismatched.end(), token);
    std::fill_n(is_prompt, row.n_prompt, true);
    is_prompt += row.mismatched.size();
  }
  batch.set("kl_input_ids", std::move(tokens), lengths);
  batch.set("kl_prompt_mask", std::move(mask), std::move(lengths));
}

at::Tensor packed_prompt_mask(const std::vector<TokenizedRow>& rows, int64_t total) {
  at::Tensor packed = at::zeros({total}, at::kBool);
  auto* out = packed.mutable_data_ptr<bool>();
  for (const TokenizedRow& row : rows) {
    for (const int32_t length : row.lengths) {
      std::fill_n(out, row.n_prompt, true);
      out += length;
    }
  }
  return packed;
}

/// One number a sample.
template <class T>
void set_number(const std::vector<TokenizedRow>& rows, T TokenizedRow::*number, const char* key,
                at::ScalarType type, SequenceBatch& batch) {
  std::vector<double> numbers;
  for (const TokenizedRow& row : rows) numbers.push_back(static_cast<double>(row.*number));
  NestedLengths lengths;
  for (std::size_t i = 0; i < rows.size(); ++i) lengths.add_sample(int32_t{1});
  batch.set(key, at::tensor(numbers, at::kDouble).to(type), std::move(lengths));
}

/// What kinds of data sets say of their answers beyond the tokens.
void add_facts_of_answers(const std::vector<TokenizedRow>& rows, config::DatasetKind kind,
                          SequenceBatch& batch) {
  if (kind == config::DatasetKind::kPreferences) {
    set_number(rows, &TokenizedRow::margin, "margins", at::kFloat, batch);
  }
  if (kind == config::DatasetKind::kLabelled) {
    set_number(rows, &TokenizedRow::is_good, "desirable", at::kBool, batch);
    add_mismatched(rows, batch);
  }
}

/// kRecordOfSample of a row.
std::string record_text(const TokenizedRow& row, const std::string& id_field) {
  nlohmann::ordered_json record = {{"line", row.line}};
  if (!row.fields.empty() && !id_field.empty()) {
    const nlohmann::json fields = base::parse_json(row.fields).value;
    if (const auto id = fields.find(id_field); id != fields.end()) record["id"] = *id;
  }
  return record.dump();
}

std::unique_ptr<RowReader> open_rows(const config::DatasetConfig& dataset, DatasetIndex index,
                                     const Tokenizer& tokenizer) {
  if (index.tokens() != nullptr) {
    return open_token_rows(std::move(index).take_tokens(), tokenizer);
  }
  return open_jsonl_rows(dataset, std::move(index).take_jsonl(), tokenizer);
}

}  // namespace

/// Reads announced rows on a thread of its own.
///   consumes: rows from announce()   produces: tokenised rows for take()
///   waits for: announce(), which wakes it; the destructor lets it end the row that it reads
class Dataset::Prefetcher {
 public:
  Prefetcher(const RowReader& reader, int64_t n_rows) : reader_(reader), n_rows_(n_rows) {}
  ~Prefetcher() { announce({}); }

  void announce(std::span<const int64_t> rows) {
    const std::lock_guard lock(mutex_);
    std::unordered_map<int64_t, TokenizedRow> kept;
    queue_.clear();
    if (in_flight_ && std::find(rows.begin(), rows.end(), *in_flight_) == rows.end()) {
      in_flight_.reset();
    }
    for (const int64_t row : rows) {
      if (row == in_flight_) continue;
      if (auto ready = ready_.extract(row); !ready.empty()) {
        kept.insert(std::move(ready));
      } else if (row >= 0 && row < n_rows_) {  // else read() complains
        queue_.push_back(row);
      }
    }
    ready_ = std::move(kept);
    if (!queue_.empty()) thread_.submit([this] { read_queue(); });
  }

  /// The row if it is ready; a row that is queued is no longer read ahead.
  std::optional<TokenizedRow> take(int64_t row) {
    const std::lock_guard lock(mutex_);
    if (auto ready = ready_.extract(row); !ready.empty()) return std::move(ready.mapped());
    if (row == in_flight_) in_flight_.reset();
    if (const auto queued = std::find(queue_.begin(), queue_.end(), row); queued != queue_.end()) {
      queue_.erase(queued);
    }
    return std::nullopt;
  }

 private:
  /// Also what is announced meanwhile.
  void read_queue() {
    std::unique_lock lock(mutex_);
    while (!queue_.empty()) {
      const int64_t row = queue_.front();
      queue_.pop_front();
      in_flight_ = row;
      lock.unlock();
      std::optional<TokenizedRow> read;
      try {
        read = reader_.read(row);
      } catch (const std::exception&) {
        // The row stays unready: read() meets the same error where it can be reported.
      }
      lock.lock();
      if (read && row == in_flight_) ready_.insert_or_assign(row, std::move(*read));
      in_flight_.reset();
    }
  }

  const RowReader& reader_;
  const int64_t n_rows_;
  std::mutex mutex_;
  std::deque<int64_t> queue_;
  std::optional<int64_t> in_flight_;  // being read now, and still wanted
  std::unordered_map<int64_t, TokenizedRow> ready_;
  base::SerialExecutor thread_;  // last: its jobs use all of the above
};

Dataset::Dataset(Facts facts, std::unique_ptr<RowReader> reader)
    : facts_(std::move(facts)),
      reader_(std::move(reader)),
      prefetcher_(std::make_unique<Prefetcher>(*reader_, facts_.n_rows)) {}
Dataset::~Dataset() = default;

std::unique_ptr<Dataset> Dataset::open(const config::DatasetConfig& dataset, DatasetIndex index,
                                       const Tokenizer& tokenizer) {
  Facts facts{.path = index.path(),
              .n_rows = index.n_rows(),
              .kind = record_kind(dataset),
              .id_field = dataset.id_field};
  return std::unique_ptr<Dataset>(
      new Dataset(std::move(facts), open_rows(dataset, std::move(index), tokenizer)));
}

void Dataset::announce(std::span<const int64_t> rows) { prefetcher_->announce(rows); }

SequenceBatch Dataset::read(std::span<const int64_t> rows, std::span<const SampleId> ids) {
  if (rows.size() != ids.size()) {
    throw CallError(
        concat("data set ", facts_.path, ": rows and ids differ in number"),
        {.expected = concat(rows.size(), " ids"), .got = concat(ids.size()), .advice = {}});
  }
  std::vector<TokenizedRow> samples;
  samples.reserve(rows.size());
  NestedLengths token_lengths;
  NestedLengths answer_lengths;
  NestedLengths field_lengths;
  NestedLengths text_lengths;
  for (const int64_t row : rows) {
    if (row < 0 || row >= facts_.n_rows) {
      throw CallError(concat("data set ", facts_.path, ": no such row"),
                      {.expected = concat("0 to ", facts_.n_rows, ", exclusive"),
                       .got = concat(row),
                       .advice = "the master and the workers have different indices"});
    }
    std::optional<TokenizedRow> ready = prefetcher_->take(row);
    ++(ready ? counts_.ready : counts_.read_late);
    samples.push_back(ready ? std::move(*ready) : reader_->read(row));
    token_lengths.add_sample(samples.back().lengths);
    answer_lengths.add_sample(static_cast<int32_t>(samples.back().answer.size()));
    field_lengths.add_sample(static_cast<int32_t>(samples.back().fields.size()));
    text_lengths.add_sample(static_cast<int32_t>(samples.back().prompt.size()));
  }
  SequenceBatch batch;
  batch.meta.ids.assign(ids.begin(), ids.end());
  std::vector<std::string>& records = batch.meta.extra[kRecordOfSample];
  for (const TokenizedRow& sample : samples) {
    records.push_back(record_text(sample, facts_.id_field));
  }
  const int64_t n_tokens = token_lengths.grand_total();
  if (facts_.kind == config::DatasetKind::kPrompts) {
    at::Tensor answers = packed_text(samples, &TokenizedRow::answer, answer_lengths.grand_total());
    at::Tensor fields = packed_text(samples, &TokenizedRow::fields, field_lengths.grand_total());
    at::Tensor texts = packed_text(samples, &TokenizedRow::prompt, text_lengths.grand_total());
    batch.set("packed_prompts", packed_tokens(samples, n_tokens), std::move(token_lengths));
    batch.set("answers", std::move(answers), std::move(answer_lengths));
    batch.set("fields", std::move(fields), std::move(field_lengths));
    batch.set("prompt_texts", std::move(texts), std::move(text_lengths));
  } else {
    batch.set("packed_input_ids", packed_tokens(samples, n_tokens), token_lengths);
    batch.set("prompt_mask", packed_prompt_mask(samples, n_tokens), std::move(token_lengths));
    add_facts_of_answers(samples, facts_.kind, batch);
  }
  batch.check();  // ids given twice
  return batch;
}

}  // namespace orrery::data
