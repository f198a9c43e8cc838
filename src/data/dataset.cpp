#include "orrery/data/dataset.h"

#include <ATen/ATen.h>  // precompiled
#include <unistd.h>     // pread

#include <algorithm>  // copy, fill_n, find
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <utility>  // move

#include "json_record.h"
#include "line_reader.h"        // open_data_file
#include "orrery/base/error.h"  // CallError, DataError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

using base::concat;

/// A row ready to be packed.
struct TokenizedRow {
  std::vector<int32_t> tokens;   // one sequence behind another: prompt, completion and end token
  std::vector<int32_t> lengths;  // of the sequences
  std::size_t n_prompt = 0;      // of each sequence
  std::string answer;
};

at::Tensor packed_tokens(const std::vector<TokenizedRow>& rows, int64_t total) {
  at::Tensor packed = at::empty({total}, at::kLong);
  auto* out = packed.mutable_data_ptr<int64_t>();
  for (const TokenizedRow& row : rows) out = std::copy(row.tokens.begin(), row.tokens.end(), out);
  return packed;
}

at::Tensor packed_answers(const std::vector<TokenizedRow>& rows, int64_t total) {
  at::Tensor packed = at::empty({total}, at::kByte);
  auto* out = packed.mutable_data_ptr<uint8_t>();
  for (const TokenizedRow& row : rows) out = std::copy(row.answer.begin(), row.answer.end(), out);
  return packed;
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

}  // namespace

/// Reads single rows. Immutable after construction: any thread.
class Dataset::Reader {
 public:
  Reader(const config::DatasetConfig& dataset, JsonlIndex index, const Tokenizer& tokenizer)
      : index_(std::move(index)),
        kind_(record_kind(dataset)),
        parser_(dataset),
        tokenizer_(tokenizer),
        file_(open_data_file(index_.path())) {
    const off_t size = ::lseek(file_.get(), 0, SEEK_END);
    if (size != index_.file_size_bytes()) {
      throw DataError(concat("data file ", index_.path(), " is not what it was at the start"),
                      {.expected = concat(index_.file_size_bytes(), " bytes"),
                       .got = concat(size),
                       .advice = "do not change data files while a job runs; on several nodes, "
                                 "check that all see the same file"});
    }
  }

  const JsonlIndex& index() const { return index_; }
  RecordKind kind() const { return kind_; }

  TokenizedRow read(int64_t row) const {
    std::string text(static_cast<std::size_t>(index_.size_bytes(row)), '\0');
    std::size_t filled = 0;
    while (filled < text.size()) {
      const ssize_t count = ::pread(file_.get(), text.data() + filled, text.size() - filled,
                                    index_.offset(row) + static_cast<off_t>(filled));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) fail(row, "it cannot be read any more");
      filled += static_cast<std::size_t>(count);
    }
    Record record;
    if (const std::string problem = parser_.parse(text, record); !problem.empty()) {
      fail(row, problem);
    }
    TokenizedRow result;
    const std::vector<int32_t> prompt = tokenizer_.encode(record.prompt);
    result.n_prompt = prompt.size();
    result.answer = std::move(record.answer);
    if (kind_ == RecordKind::kPrompts) {
      result.tokens = prompt;
      result.lengths = {static_cast<int32_t>(prompt.size())};
      return result;
    }
    add_sequence(result, prompt, record.completion);
    if (kind_ == RecordKind::kPreferences) add_sequence(result, prompt, record.rejected);
    return result;
  }

 private:
  void add_sequence(TokenizedRow& row, const std::vector<int32_t>& prompt,
                    const std::string& text) const {
    const std::vector<int32_t> completion = tokenizer_.encode(text);
    row.tokens.insert(row.tokens.end(), prompt.begin(), prompt.end());
    row.tokens.insert(row.tokens.end(), completion.begin(), completion.end());
    row.tokens.push_back(tokenizer_.eos_id());
    row.lengths.push_back(static_cast<int32_t>(prompt.size() + completion.size() + 1));
  }

  [[noreturn]] void fail(int64_t row, const std::string& problem) const {
    throw DataError(concat(index_.path(), ":", index_.line(row), ": ", problem),
                    {.expected = "the record that was there when the job started",
                     .got = "something else",
                     .advice = "do not change data files while a job runs"});
  }

  JsonlIndex index_;
  RecordKind kind_;
  RecordParser parser_;
  const Tokenizer& tokenizer_;
  base::FileDescriptor file_;
};

/// Reads announced rows on a thread of its own.
///   consumes: rows from announce()   produces: tokenised rows for take()
///   waits for: announce(), which wakes it; the destructor stops it
class Dataset::Prefetcher {
 public:
  explicit Prefetcher(const Reader& reader)
      : reader_(reader), thread_([this](const std::stop_token& stop) { run(stop); }) {}

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
      } else if (row >= 0 && row < reader_.index().n_rows()) {  // else read() complains
        queue_.push_back(row);
      }
    }
    ready_ = std::move(kept);
    wake_.notify_one();
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
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
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
      if (stop.stop_requested()) return;
    }
  }

  const Reader& reader_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<int64_t> queue_;
  std::optional<int64_t> in_flight_;  // being read now, and still wanted
  std::unordered_map<int64_t, TokenizedRow> ready_;
  std::jthread thread_;  // last: it uses all of the above
};

Dataset::Dataset(std::unique_ptr<Reader> reader, std::unique_ptr<Prefetcher> prefetcher)
    : reader_(std::move(reader)), prefetcher_(std::move(prefetcher)) {}
Dataset::~Dataset() = default;

std::unique_ptr<Dataset> Dataset::open(const config::DatasetConfig& dataset, JsonlIndex index,
                                       const Tokenizer& tokenizer) {
  auto reader = std::make_unique<Reader>(dataset, std::move(index), tokenizer);
  auto prefetcher = std::make_unique<Prefetcher>(*reader);
  return std::unique_ptr<Dataset>(new Dataset(std::move(reader), std::move(prefetcher)));
}

const JsonlIndex& Dataset::index() const { return reader_->index(); }

void Dataset::announce(std::span<const int64_t> rows) { prefetcher_->announce(rows); }

SequenceBatch Dataset::read(std::span<const int64_t> rows, std::span<const SampleId> ids) {
  if (rows.size() != ids.size()) {
    throw CallError(
        concat("data set ", index().path(), ": rows and ids differ in number"),
        {.expected = concat(rows.size(), " ids"), .got = concat(ids.size()), .advice = {}});
  }
  std::vector<TokenizedRow> samples;
  samples.reserve(rows.size());
  NestedLengths token_lengths;
  NestedLengths answer_lengths;
  for (const int64_t row : rows) {
    if (row < 0 || row >= index().n_rows()) {
      throw CallError(concat("data set ", index().path(), ": no such row"),
                      {.expected = concat("0 to ", index().n_rows(), ", exclusive"),
                       .got = concat(row),
                       .advice = "the master and the workers have different indices"});
    }
    std::optional<TokenizedRow> ready = prefetcher_->take(row);
    ++(ready ? counts_.ready : counts_.read_late);
    samples.push_back(ready ? std::move(*ready) : reader_->read(row));
    token_lengths.add_sample(samples.back().lengths);
    answer_lengths.add_sample(static_cast<int32_t>(samples.back().answer.size()));
  }
  SequenceBatch batch;
  batch.meta.ids.assign(ids.begin(), ids.end());
  const int64_t n_tokens = token_lengths.grand_total();
  if (reader_->kind() == RecordKind::kPrompts) {
    at::Tensor answers = packed_answers(samples, answer_lengths.grand_total());
    batch.set("packed_prompts", packed_tokens(samples, n_tokens), std::move(token_lengths));
    batch.set("answers", std::move(answers), std::move(answer_lengths));
  } else {
    batch.set("packed_input_ids", packed_tokens(samples, n_tokens), token_lengths);
    batch.set("prompt_mask", packed_prompt_mask(samples, n_tokens), std::move(token_lengths));
  }
  batch.check();  // ids given twice
  return batch;
}

}  // namespace orrery::data
