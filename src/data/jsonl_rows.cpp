// Rows of a file of JSON lines: read, parsed and tokenised when they are asked for.
#include <unistd.h>  // lseek

#include <algorithm>  // max, min
#include <utility>    // move

#include "json_record.h"
#include "line_reader.h"  // open_data_file
#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // DataError
#include "orrery/base/hash.h"   // hash64
#include "orrery/base/text.h"   // concat
#include "orrery/data/prompt_template.h"
#include "row_reader.h"

namespace orrery::data {

namespace {

using base::concat;

class JsonlRows final : public RowReader {
 public:
  JsonlRows(const config::DatasetConfig& dataset, JsonlIndex index, const Tokenizer& tokenizer)
      : index_(std::move(index)),
        kind_(record_kind(dataset)),
        parser_(dataset, tokenizer),
        template_(dataset),
        tokenizer_(tokenizer),
        beginning_tokens_(beginning_tokens(dataset.add_bos, tokenizer)),
        file_(open_data_file(index_.path())) {
    const off_t size = ::lseek(file_.descriptor(), 0, SEEK_END);
    if (size != index_.file_size_bytes()) {
      throw_changed_size(index_.path(), index_.file_size_bytes(), size);
    }
  }

  TokenizedRow read(int64_t row) const override {
    const std::string line = line_of(row);
    Record record;
    if (const std::string problem = parser_.parse(line, record); !problem.empty()) {
      fail(row, problem);
    }
    TokenizedRow result;
    result.line = index_.line(row);
    std::vector<int32_t> prompt = prompt_of(record);
    result.n_prompt = prompt.size();
    if (kind_ == config::DatasetKind::kPrompts) {
      result.answer = std::move(record.answer);
      result.prompt = std::move(record.prompt);
      result.fields = parser_.other_fields(line);
      result.lengths = {static_cast<int32_t>(prompt.size())};
      result.tokens = std::move(prompt);
      return result;
    }
    result.add_sequence(prompt, answer_behind(record, record.completion), tokenizer_.eos_id());
    if (kind_ == config::DatasetKind::kPreferences) {
      result.add_sequence(prompt, answer_behind(record, record.rejected), tokenizer_.eos_id());
      result.margin = record.margin;
    }
    if (kind_ == config::DatasetKind::kLabelled) {
      result.is_good = record.is_good;
      add_mismatched(row, prompt, record, result);
    }
    return result;
  }

 private:
  std::string_view whole_prompt(const Record& record, std::string& buffer) const {
    if (!record.whole_prompt.empty()) return record.whole_prompt;
    return template_.prompt(record.system, record.prompt, buffer);
  }

  std::vector<int32_t> prompt_of(const Record& record) const {
    std::string buffer;
    std::vector<int32_t> prompt = tokenizer_.encode(whole_prompt(record, buffer));
    put_before(beginning_tokens_, prompt);
    return prompt;
  }

  std::vector<int32_t> answer_behind(const Record& record, const std::string& answer) const {
    std::string buffer;
    return encode_behind(tokenizer_, whole_prompt(record, buffer), answer);
  }

  /// The answer comes from a row that depends on nothing but the file, so that neither the order of
  /// the data nor the layout changes it: the first one with another prompt from a drawn row on. It
  /// is cut where prompt and answer together would be longer than both rows, which fit the model.
  void add_mismatched(int64_t row, const std::vector<int32_t>& prompt, const Record& record,
                      TokenizedRow& result) const {
    const int64_t n = index_.n_rows();
    const auto start = static_cast<int64_t>(
        base::hash64({reinterpret_cast<const char*>(&row), sizeof row}) % static_cast<uint64_t>(n));
    Record other;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t candidate = (start + k) % n;
      if (const std::string problem = parser_.parse(line_of(candidate), other); !problem.empty()) {
        fail(candidate, problem);
      }
      if (other.prompt == record.prompt && other.system == record.system) continue;
      const std::vector<int32_t> answer = answer_behind(record, other.completion);
      const size_t longest =
          std::max(result.tokens.size(), prompt_of(other).size() + answer.size() + 1);
      result.mismatched = prompt;
      result.mismatched.insert(result.mismatched.end(), answer.begin(), answer.end());
      result.mismatched.push_back(tokenizer_.eos_id());
      result.mismatched.resize(std::min(result.mismatched.size(), longest));
      return;
    }
    fail(row, "no record has another prompt, whose answer would be a mismatched one");
  }

  std::string line_of(int64_t row) const {
    std::string text(static_cast<std::size_t>(index_.size_bytes(row)), '\0');
    if (file_.read_at(index_.offset(row), text.data(), text.size()) != index_.size_bytes(row)) {
      fail(row, "it cannot be read any more");
    }
    return text;
  }

  [[noreturn]] void fail(int64_t row, const std::string& problem) const {
    throw DataError(concat(index_.path(), ":", index_.line(row), ": ", problem),
                    {.expected = "the record that was there when the job started",
                     .got = "something else",
                     .advice = "do not change data files while a job runs"});
  }

  JsonlIndex index_;
  config::DatasetKind kind_;
  RecordParser parser_;
  PromptTemplate template_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> beginning_tokens_;  // before every prompt
  base::PosixFile file_;
};

}  // namespace

void TokenizedRow::add_sequence(std::span<const int32_t> prompt,
                                std::span<const int32_t> completion, int32_t end_token) {
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  tokens.insert(tokens.end(), completion.begin(), completion.end());
  tokens.push_back(end_token);
  lengths.push_back(static_cast<int32_t>(prompt.size() + completion.size() + 1));
}

void throw_changed_size(const std::string& path, int64_t expected, int64_t got) {
  throw DataError(concat("data file ", path, " is not what it was at the start"),
                  {.expected = base::counted(expected, "byte"),
                   .got = concat(got),
                   .advice = "do not change data files while a job runs; on several nodes, check "
                             "that all see the same file"});
}

std::unique_ptr<RowReader> open_jsonl_rows(const config::DatasetConfig& dataset, JsonlIndex index,
                                           const Tokenizer& tokenizer) {
  return std::make_unique<JsonlRows>(dataset, std::move(index), tokenizer);
}

}  // namespace orrery::data
