#include "orrery/data/token_index.h"

#include <algorithm>  // equal, find_if, min
#include <array>
#include <optional>
#include <utility>  // move

#include "json_record.h"        // record_kind
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/hash.h"
#include "orrery/base/index.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"  // concat
#include "orrery/data/utf8.h"
#include "token_file.h"

namespace orrery::data {

namespace {

using base::concat;

/// The entries of a column one after another, in blocks of a few MiB.
template <class T>
class ColumnScan {
 public:
  explicit ColumnScan(const StoredColumn& column) : column_(column) {}

  /// The next entry; valid until the next call. Throws DataError for damaged offsets.
  std::span<const T> next() {
    if (entry_ == first_entry_ + static_cast<int64_t>(ends_.size()) - 1 || ends_.empty()) fill();
    const auto at = static_cast<std::size_t>(entry_ - first_entry_);
    ++entry_;
    return std::span<const T>(values_).subspan(static_cast<std::size_t>(ends_[at] - ends_[0]),
                                               static_cast<std::size_t>(ends_[at + 1] - ends_[at]));
  }

 private:
  static constexpr int64_t kEntries = 16384;
  static constexpr int64_t kValues = (int64_t{4} << 20) / static_cast<int64_t>(sizeof(T));

  void fill() {
    first_entry_ = entry_;
    ends_.resize(static_cast<std::size_t>(std::min(kEntries, column_.size() - entry_)) + 1);
    column_.offsets.template read<int64_t>(entry_, ends_);
    std::size_t n = 1;
    while (n < ends_.size() && is_whole(ends_[n - 1], ends_[n]) &&
           (n == 1 || ends_[n] - ends_[0] <= kValues)) {
      ++n;
    }
    if (n == 1 || (n < ends_.size() && !is_whole(ends_[n - 1], ends_[n]))) {
      const int64_t bad = entry_ + static_cast<int64_t>(n) - 1;
      throw DataError(
          concat("pre-tokenized dataset ", column_.offsets.place(), ", entry ", bad + 1),
          {.expected = concat("0 to ", StoredColumn::kMaxEntry, " elements"),
           .got = concat("from ", ends_[n - 1], " to ", ends_[n]),
           .advice = "the file is damaged: make it again with tools/tokenize.py"});
    }
    ends_.resize(n);
    values_.resize(static_cast<std::size_t>(ends_.back() - ends_[0]));
    column_.values.template read<T>(ends_[0], std::span<T>(values_));
  }
  static bool is_whole(int64_t begin, int64_t end) {
    return begin >= 0 && end >= begin && end - begin <= StoredColumn::kMaxEntry;
  }

  const StoredColumn& column_;
  int64_t entry_ = 0;        // of the next one
  int64_t first_entry_ = 0;  // of those in the block
  std::vector<int64_t> ends_;
  std::vector<T> values_;
};

/// Order matters, and so does every bit of both.
uint64_t combined(uint64_t hash, uint64_t next) {
  hash = (hash ^ next) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 29);
}

template <class T>
uint64_t hash_of(std::span<const T> values) {
  return base::hash64({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

/// What a text column says of one record that has no such column.
template <class T>
std::span<const T> next_of(std::optional<ColumnScan<T>>& scan) {
  return scan ? scan->next() : std::span<const T>();
}

template <class T>
std::optional<ColumnScan<T>> scan_of(const std::optional<StoredColumn>& column) {
  return column ? std::optional<ColumnScan<T>>(std::in_place, *column) : std::nullopt;
}

}  // namespace

bool is_token_file(const std::string& path) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  if (path.ends_with(".h5") || path.ends_with(".hdf5")) return true;
  std::array<char, 8> head = {};
  const base::PosixFile file = base::PosixFile::open_to_read(path);
  return file && file.read_at(0, head.data(), head.size()) == 8 &&
         std::string_view(head.data(), head.size()) == kSignature;
}

class TokenIndex::Builder {
 public:
  Builder(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
          const RecordNeeds& needs)
      : dataset_(dataset),
        tokenizer_(tokenizer),
        needs_(needs),
        summarizer_(needs),
        file_(TokenFile::open(dataset.path)) {
    index_.path_ = dataset.path;
    index_.file_size_bytes_ = file_.file->size_bytes;
  }

  TokenIndex run() {
    check_kind();
    check_options();
    check_tokenizer();
    scan();
    index_.summary_ = summarizer_.take();
    return std::move(index_);
  }

 private:
  void check_kind() const {
    if (record_kind(dataset_) == file_.kind) return;
    throw_bad_token_file(dataset_.path, "it holds records of another kind",
                         concat("kind = ", dataset_.kind),
                         concat("kind = ", config::name(file_.kind)));
  }

  void check_options() const {
    const std::array<std::pair<const char*, const std::string*>, 4> texts = {
        {{"system_prefix", &dataset_.system_prefix},
         {"system_suffix", &dataset_.system_suffix},
         {"prompt_prefix", &dataset_.prompt_prefix},
         {"prompt_suffix", &dataset_.prompt_suffix}}};
    if (!dataset_.margin_field.empty()) {
      throw ConfigError(
          concat("data set ", dataset_.path, ": pre-tokenized datasets have no margins"),
          {.expected = "no margin_field",
           .got = concat("margin_field = ", dataset_.margin_field),
           .advice = "use the JSONL file that the tokens were made from, or leave it out"});
    }
    for (const auto& [name, text] : texts) {
      if (text->empty()) continue;
      throw ConfigError(
          concat("data set ", dataset_.path, ": ", name,
                 " cannot be put around prompts that are tokens already"),
          {.expected = "no such text",
           .got = *text,
           .advice =
               concat("give it to tools/tokenize.py as --", name[0] == 's' ? "system" : "prompt",
                      std::string(name).ends_with("prefix") ? "-prefix" : "-suffix",
                      " and leave it out here")});
    }
  }

  /// The ids must mean to the run what they meant to whoever made the file.
  void check_tokenizer() {
    const std::unique_ptr<TokenTable> own = file_.read_table();
    const auto refuse = [&](const std::string& expected, const std::string& got) {
      throw ConfigError(
          concat("data set ", dataset_.path,
                 " was tokenised with another tokenizer than the run's"),
          {.expected = expected,
           .got = got,
           .advice = "leave model.ROLE.tokenizer = auto, or tokenise again with the model's own"});
    };
    if (own->vocab_size() != tokenizer_.vocab_size()) {
      refuse(concat(tokenizer_.vocab_size(), " tokens"), concat(own->vocab_size()));
    }
    for (int32_t id = 0; id < own->vocab_size(); ++id) {
      if (own->bytes_of(id) == tokenizer_.bytes_of(id)) continue;
      refuse(concat("token ", id, " with the text \"", tokenizer_.bytes_of(id), "\""),
             concat("\"", own->bytes_of(id), "\""));
    }
    if (own->eos_id() != tokenizer_.eos_id()) {
      refuse(concat("the end token ", tokenizer_.eos_id()), concat(own->eos_id()));
    }
    n_tokens_ = own->vocab_size();
    for (int32_t id = 0; id < n_tokens_; ++id) is_token_.push_back(tokenizer_.has_token(id));
    for (int32_t id = 0; id < n_tokens_; ++id) {
      index_.fingerprint_ = combined(index_.fingerprint_, base::hash64(own->bytes_of(id)));
    }
  }

  void scan() {
    ColumnScan<int32_t> prompts(file_.prompt);
    auto completions = scan_of<int32_t>(file_.completion);
    auto rejected = scan_of<int32_t>(file_.rejected);
    auto answers = scan_of<char>(file_.answer);
    auto fields = scan_of<char>(file_.fields);
    for (int64_t record = 0; record < file_.n_records; ++record) {
      const Parts parts{.prompt = prompts.next(),
                        .completion = next_of(completions),
                        .rejected = next_of(rejected),
                        .answer = next_of(answers),
                        .fields = next_of(fields)};
      std::string problem = problem_of(parts);
      if (!problem.empty()) {
        reject(record, std::move(problem));
        continue;
      }
      if (index_.rejected_.count() > 0) index_.records_.push_back(record);
      ++index_.n_rows_;
      for (const uint64_t hash :
           {hash_of(parts.prompt), hash_of(parts.completion), hash_of(parts.rejected),
            hash_of(parts.answer), hash_of(parts.fields)}) {
        index_.fingerprint_ = combined(index_.fingerprint_, hash);
      }
      summarize(record, parts);
      if (needs_.on_prompt) needs_.on_prompt(text_of(parts.prompt));
    }
  }

  struct Parts {
    std::span<const int32_t> prompt;
    std::span<const int32_t> completion;
    std::span<const int32_t> rejected;
    std::span<const char> answer;
    std::span<const char> fields;
  };

  void summarize(int64_t record, const Parts& parts) {
    const auto prompt = static_cast<int64_t>(parts.prompt.size());
    RecordSummarizer::Seen seen{.line = record + 1,
                                .answer = {parts.answer.data(), parts.answer.size()},
                                .n_prompt = prompt};
    const std::vector<int32_t>& special_tokens = needs_.template_tokens;
    seen.has_template_tokens =
        parts.prompt.size() >= special_tokens.size() &&
        std::equal(special_tokens.begin(), special_tokens.end(), parts.prompt.begin());
    const std::string_view fields(parts.fields.data(), parts.fields.size());
    seen.has_id = !dataset_.id_field.empty() && fields.find(id_key_) != std::string_view::npos;
    std::vector<int64_t> n_sequences;
    for (const std::span<const int32_t> tokens : {parts.completion, parts.rejected}) {
      if (tokens.empty() || !summarizer_.wants_lengths()) continue;
      n_sequences.push_back(prompt + static_cast<int64_t>(tokens.size()) + 1);
    }
    seen.n_sequences = n_sequences;
    seen.fields = fields;
    summarizer_.add(seen);
  }

  std::string text_of(std::span<const int32_t> prompt) const {
    const std::vector<int32_t>& beginning = needs_.template_tokens;
    if (prompt.size() >= beginning.size() &&
        std::equal(beginning.begin(), beginning.end(), prompt.begin())) {
      prompt = prompt.subspan(beginning.size());
    }
    std::string text;
    for (const int32_t id : prompt) text += tokenizer_.bytes_of(id);
    return text;
  }

  std::string problem_of(const Parts& parts) const {
    const auto prompt = static_cast<int64_t>(parts.prompt.size());
    if (std::string problem = problem_with_tokens("prompt", parts.prompt); !problem.empty()) {
      return problem;
    }
    if (prompt > dataset_.max_prompt_tokens) {
      return concat("prompt of ", prompt,
                    " tokens, more than max_prompt_tokens = ", dataset_.max_prompt_tokens);
    }
    if (prompt > needs_.prompt.tokens) {
      return concat("prompt of ", prompt, " tokens, ", needs_.prompt.reason);
    }
    if (file_.kind == config::DatasetKind::kPrompts) return problem_with_text(parts);
    for (const auto& [name, tokens] : {std::pair{"completion", parts.completion},
                                       std::pair{"rejected completion", parts.rejected}}) {
      if (name[0] == 'r' && file_.kind != config::DatasetKind::kPreferences) continue;
      if (std::string problem = problem_with_tokens(name, tokens); !problem.empty()) return problem;
      const int64_t all = prompt + static_cast<int64_t>(tokens.size()) + 1;
      if (all > dataset_.max_tokens) {
        return concat("prompt, completion and end token are ", all,
                      " tokens, more than max_tokens = ", dataset_.max_tokens);
      }
      if (all > needs_.sequence.tokens) {
        return concat("prompt, completion and end token are ", all, " tokens, ",
                      needs_.sequence.reason);
      }
    }
    if (file_.kind == config::DatasetKind::kPreferences &&
        std::ranges::equal(parts.completion, parts.rejected)) {
      return "the better and the worse completion are equal";
    }
    return {};
  }

  std::string problem_with_tokens(const char* what, std::span<const int32_t> tokens) const {
    if (tokens.empty()) return concat(what, " is empty");
    const auto bad = std::find_if(tokens.begin(), tokens.end(), [this](int32_t id) {
      return id < 0 || id >= n_tokens_ || !is_token_[base::index(id)];
    });
    if (bad == tokens.end()) return {};
    if (*bad >= 0 && *bad < n_tokens_) {
      return concat(what, " has token ", *bad, ", an id that the tokenizer leaves out");
    }
    return concat(what, " has token ", *bad, ", but the vocabulary only ", n_tokens_);
  }

  std::string problem_with_text(const Parts& parts) const {
    const std::string_view answer(parts.answer.data(), parts.answer.size());
    if (first_invalid_utf8(answer)) return "its answer is not UTF-8";
    if (summarizer_.lacks_answer(answer)) {
      return concat("it has no answer, but ", needs_.answer_reader, " compares with it");
    }
    const std::string_view fields(parts.fields.data(), parts.fields.size());
    if (fields.empty()) return {};
    if (!fields.starts_with('{') || fields.find('\n') != std::string_view::npos ||
        !base::parse_json(fields).problem.empty()) {
      return "its fields are no JSON object in one line";
    }
    return {};
  }

  void reject(int64_t record, std::string problem) {
    if (index_.rejected_.count() == 0) {  // from now on rows are not records
      for (int64_t before = 0; before < record; ++before) index_.records_.push_back(before);
    }
    if (file_.lines &&
        index_.rejected_.count() < static_cast<int64_t>(RejectedRecords::kMaxNamed)) {
      int64_t line = 0;
      file_.lines->read<int64_t>(record, {&line, 1});
      problem += concat(" (line ", line, " of ", file_.source, ")");
    }
    index_.rejected_.add(record + 1, std::move(problem));
  }

  const config::DatasetConfig& dataset_;
  const Tokenizer& tokenizer_;
  const RecordNeeds& needs_;
  RecordSummarizer summarizer_;
  const std::string id_key_ = concat('"', dataset_.id_field, "\":");  // in a record's fields
  TokenFile file_;
  int32_t n_tokens_ = 0;
  std::vector<bool> is_token_;  // [n_tokens_] false: an id that the vocabulary leaves out
  TokenIndex index_;
};

TokenIndex TokenIndex::build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                             const RecordNeeds& needs) {
  TokenIndex index = Builder(dataset, tokenizer, needs).run();
  check_usable(index.rejected_, {.path = dataset.path,
                                 .on_bad_record = dataset.on_bad_record,
                                 .n_used = index.n_rows(),
                                 .expected = "records of tokens",
                                 .got = "no record"});
  return index;
}

}  // namespace orrery::data
