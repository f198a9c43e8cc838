// Rows of a pre-tokenized dataset: read from their places when they are asked for.
#include <utility>  // move

#include "orrery/base/error.h"
#include "row_reader.h"
#include "token_file.h"

namespace orrery::data {

namespace {

class TokenRows final : public RowReader {
 public:
  TokenRows(TokenIndex index, const Tokenizer& tokenizer)
      : index_(std::move(index)),
        file_(TokenFile::open(index_.path())),
        n_tokens_(tokenizer.vocab_size()),
        end_token_(tokenizer.eos_id()) {
    if (file_.file->size_bytes != index_.file_size_bytes()) {
      throw_changed_size(index_.path(), index_.file_size_bytes(), file_.file->size_bytes);
    }
  }

  TokenizedRow read(int64_t row) const override {
    const int64_t record = index_.record(row);
    TokenizedRow result;
    result.line = record + 1;
    std::vector<int32_t> prompt = tokens_of(file_.prompt, record);
    result.n_prompt = prompt.size();
    if (file_.kind == config::DatasetKind::kPrompts) {
      if (file_.answer) result.answer = text_of(*file_.answer, record);
      result.fields = file_.fields ? text_of(*file_.fields, record) : "";
      if (result.fields.empty()) result.fields = "{}";
      result.lengths = {static_cast<int32_t>(prompt.size())};
      result.tokens = std::move(prompt);
      return result;
    }
    result.add_sequence(prompt, tokens_of(*file_.completion, record), end_token_);
    if (file_.rejected) {
      result.add_sequence(prompt, tokens_of(*file_.rejected, record), end_token_);
    }
    return result;
  }

 private:
  static std::string text_of(const StoredColumn& column, int64_t record) {
    const std::vector<char> bytes = column.read<char>(record);
    return {bytes.begin(), bytes.end()};
  }

  /// An id beyond the vocabulary would be read from beyond the embedding.
  std::vector<int32_t> tokens_of(const StoredColumn& column, int64_t record) const {
    std::vector<int32_t> tokens = column.read<int32_t>(record);
    for (const int32_t id : tokens) {
      if (id >= 0 && id < n_tokens_) continue;
      throw_bad_token_file(index_.path(), "a record is no longer what it was at the start",
                           std::to_string(n_tokens_) + " tokens", std::to_string(id));
    }
    return tokens;
  }

  TokenIndex index_;
  TokenFile file_;
  int32_t n_tokens_;
  int32_t end_token_;
};

}  // namespace

std::unique_ptr<RowReader> open_token_rows(TokenIndex index, const Tokenizer& tokenizer) {
  return std::make_unique<TokenRows>(std::move(index), tokenizer);
}

}  // namespace orrery::data
