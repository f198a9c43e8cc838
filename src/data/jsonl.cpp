#include "orrery/data/jsonl.h"

#include <algorithm>  // max, min
#include <unordered_map>
#include <utility>  // move

#include "json_record.h"
#include "line_reader.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // DataError
#include "orrery/base/hash.h"
#include "orrery/base/text.h"  // concat
#include "orrery/data/prompt_template.h"

namespace orrery::data {

namespace {

using base::concat;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_blank(std::string_view line) { return base::trim(line).empty(); }

/// Order matters, and so does every bit of both.
uint64_t combined(uint64_t hash, uint64_t next) {
  hash = (hash ^ next) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 29);
}

}  // namespace

class JsonlIndex::Builder {
 public:
  Builder(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
          const RecordNeeds& needs)
      : dataset_(dataset),
        tokenizer_(tokenizer),
        needs_(needs),
        summarizer_(needs),
        beginning_tokens_(beginning_tokens(dataset.add_bos, tokenizer)),
        parser_(dataset, tokenizer),
        template_(dataset),
        kind_(record_kind(dataset)) {
    index_.path_ = dataset.path;
  }

  JsonlIndex run() {
    LineReader reader(dataset_.path);
    Line line;
    while (reader.next(line)) add(line);
    refuse_one_prompt();
    index_.file_size_bytes_ = reader.position();
    index_.summary_ = summarizer_.take();
    return std::move(index_);
  }

 private:
  void add(Line& line) {
    if (line.number == 1) refuse_or_skip_mark(line);
    if (is_blank(line.text) && !line.is_too_long) {
      blank_lines_.push_back(line.number);  // fine, unless another record follows
      return;
    }
    for (const int64_t number : blank_lines_) reject(number, "an empty line");
    blank_lines_.clear();
    if (line.is_too_long) {
      reject(line.number, concat("longer than ", LineReader::kMaxLineBytes, " bytes"));
      return;
    }
    std::string problem = parser_.parse(line.text, record_);
    if (problem.empty()) problem = problem_with_answer();
    if (problem.empty()) problem = problem_with_lengths();
    if (problem.empty()) problem = problem_with_id();
    if (!problem.empty()) {
      reject(line.number, std::move(problem));
      return;
    }
    note_prompt();
    if (needs_.on_prompt) {
      needs_.on_prompt(whole_prompt());
    }
    if (summarizer_.wants_fields()) fields_ = parser_.other_fields(line.text);
    index_.offsets_.push_back(line.offset);
    index_.sizes_.push_back(static_cast<int32_t>(line.text.size()));
    index_.lines_.push_back(line.number);
    index_.fingerprint_ = combined(index_.fingerprint_, base::hash64(line.text));
    summarizer_.add({.line = line.number,
                     .has_id = record_.has_id,
                     .has_system = !record_.system.empty(),
                     .answer = record_.answer,
                     .n_prompt = n_prompt_,
                     .n_sequences = n_sequences_,
                     .fields = fields_});
  }

  void note_prompt() {
    if (kind_ != config::DatasetKind::kLabelled || has_two_prompts_) return;
    std::string prompt = concat(record_.system, '\0', record_.prompt);
    if (index_.n_rows() == 0) {
      first_prompt_ = std::move(prompt);
    } else {
      has_two_prompts_ = prompt != first_prompt_;
    }
  }

  /// Answers are compared with those to other prompts.
  void refuse_one_prompt() const {
    if (kind_ != config::DatasetKind::kLabelled || index_.n_rows() == 0 || has_two_prompts_) return;
    throw DataError(concat(dataset_.path, ":", index_.lines_.front(),
                           ": every record of the file has this prompt"),
                    {.expected = "two different prompts or more in a data set of kind labelled: "
                                 "answers are compared with those to other prompts",
                     .got = base::counted(index_.n_rows(), "record"),
                     .advice = {}});
  }

  std::string problem_with_answer() const {
    if (!summarizer_.lacks_answer(record_.answer)) return {};
    return concat("field \"", parser_.answer_field(), "\" is ",
                  record_.has_answer ? "empty" : "missing", ", but ", needs_.answer_reader,
                  " compares with it");
  }

  void refuse_or_skip_mark(Line& line) const {
    if (line.text.starts_with("\xFF\xFE") || line.text.starts_with("\xFE\xFF")) {
      throw DataError(concat(dataset_.path, ":1: the file is UTF-16"),
                      {.expected = "UTF-8",
                       .got = "the byte order mark of UTF-16",
                       .advice = "convert it: iconv -f UTF-16 -t UTF-8"});
    }
    if (line.text.starts_with(kByteOrderMark)) {
      line.text.remove_prefix(kByteOrderMark.size());
      line.offset += static_cast<int64_t>(kByteOrderMark.size());
    }
  }

  /// Also sets n_prompt_ and n_sequences_.
  std::string problem_with_lengths() {
    n_sequences_.clear();
    const std::string_view prompt = whole_prompt();
    if (!summarizer_.wants_lengths() && is_surely_short(prompt)) return {};
    n_prompt_ = count_prompt(prompt);
    if (n_prompt_ > dataset_.max_prompt_tokens) {
      return concat("prompt of ", n_prompt_,
                    " tokens, more than max_prompt_tokens = ", dataset_.max_prompt_tokens);
    }
    if (n_prompt_ > needs_.prompt.tokens) {
      return concat("prompt of ", n_prompt_, " tokens, ", needs_.prompt.reason);
    }
    if (kind_ == config::DatasetKind::kPrompts) return {};
    for (const std::string* answer : {&record_.completion, &record_.rejected}) {
      if (answer == &record_.rejected && kind_ != config::DatasetKind::kPreferences) continue;
      const int64_t all = n_prompt_ + count_answer(*answer) + 1;
      if (all > dataset_.max_tokens) {
        return concat("prompt, completion and end token are ", all,
                      " tokens, more than max_tokens = ", dataset_.max_tokens);
      }
      if (all > needs_.sequence.tokens) {
        return concat("prompt, completion and end token are ", all, " tokens, ",
                      needs_.sequence.reason);
      }
      n_sequences_.push_back(all);
    }
    return {};
  }

  std::string_view whole_prompt() {
    if (!record_.whole_prompt.empty()) return record_.whole_prompt;
    return template_.prompt(record_.system, record_.prompt, buffer_);
  }

  int64_t count_answer(const std::string& answer) {
    if (!tokenizer_.begins_with_space()) return tokenizer_.count(answer);
    return static_cast<int64_t>(encode_behind(tokenizer_, whole_prompt(), answer).size());
  }

  int64_t count_prompt(std::string_view prompt) const {
    if (beginning_tokens_.empty()) return tokenizer_.count(prompt);
    std::vector<int32_t> ids = tokenizer_.encode(prompt);
    put_before(beginning_tokens_, ids);
    return static_cast<int64_t>(ids.size());
  }

  /// Most records are so short that nobody needs to know how many tokens they have.
  bool is_surely_short(std::string_view prompt) {
    n_prompt_ = tokenizer_.count_at_most(prompt) + static_cast<int64_t>(beginning_tokens_.size());
    if (n_prompt_ > most_prompt_) return false;
    if (kind_ == config::DatasetKind::kPrompts) return true;
    const int64_t answer = std::max(tokenizer_.count_at_most(record_.completion),
                                    tokenizer_.count_at_most(record_.rejected));
    return n_prompt_ + answer + 1 <= most_sequence_;
  }

  /// Ids are kept as hashes; two that agree are compared in full, by reading the earlier record
  /// again.
  std::string problem_with_id() {
    if (!record_.has_id) return {};
    const auto [earlier, last] = rows_by_id_hash_.equal_range(base::hash64(record_.id));
    for (auto candidate = earlier; candidate != last; ++candidate) {
      const auto row = static_cast<std::size_t>(candidate->second);
      if (id_of_row(row) == record_.id) {
        return concat("id \"", record_.id, "\" was already used in line ", index_.lines_[row]);
      }
    }
    rows_by_id_hash_.emplace(base::hash64(record_.id), index_.n_rows());
    return {};
  }

  std::string id_of_row(std::size_t row) const {
    const base::PosixFile file = open_data_file(dataset_.path);
    std::string text(static_cast<std::size_t>(index_.sizes_[row]), '\0');
    const int64_t count = file.read_at(index_.offsets_[row], text.data(), text.size());
    text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    Record record;
    parser_.parse(text, record);
    return record.id;
  }

  void reject(int64_t line, std::string problem) { index_.rejected_.add(line, std::move(problem)); }

  const config::DatasetConfig& dataset_;
  const Tokenizer& tokenizer_;
  const RecordNeeds& needs_;
  RecordSummarizer summarizer_;
  std::vector<int32_t> beginning_tokens_;  // before every prompt
  RecordParser parser_;
  PromptTemplate template_;
  config::DatasetKind kind_;
  // Up to here nothing is said about a record's lengths.
  const int64_t most_prompt_ =
      std::min({dataset_.max_prompt_tokens, needs_.prompt.tokens, needs_.roomy_prompt});
  const int64_t most_sequence_ = std::min(dataset_.max_tokens, needs_.sequence.tokens);
  Record record_;
  int64_t n_prompt_ = 0;  // of the record; an upper bound where it is short
  std::vector<int64_t> n_sequences_;
  std::string buffer_;                // of the whole prompt
  std::string fields_;                // where someone wants them
  std::vector<int64_t> blank_lines_;  // since the last record
  std::unordered_multimap<uint64_t, int64_t> rows_by_id_hash_;
  std::string first_prompt_;  // of kind labelled: system and prompt
  bool has_two_prompts_ = false;
  JsonlIndex index_;
};

JsonlIndex JsonlIndex::build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                             const RecordNeeds& needs) {
  if (dataset.on_bad_record != "fail" && dataset.on_bad_record != "skip") {
    throw ConfigError(concat("data set ", dataset.path, ": unknown on_bad_record"),
                      {.expected = "fail or skip", .got = dataset.on_bad_record, .advice = {}});
  }
  JsonlIndex index = Builder(dataset, tokenizer, needs).run();
  check_usable(index.rejected_,
               {.path = dataset.path,
                .on_bad_record = dataset.on_bad_record,
                .n_used = index.n_rows(),
                .expected = "JSON objects, one a line",
                .got = index.file_size_bytes_ == 0 ? "an empty file" : "blank lines"});
  return index;
}

}  // namespace orrery::data
