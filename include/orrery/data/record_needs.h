// What a run needs of every record of a data set beyond its form, and what was found in all of them
// together. Plain values: cli finds out the needs from calls and models, the indices check records.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::data {

/// A largest number of tokens, and where it comes from.
struct TokenBound {
  int64_t tokens = std::numeric_limits<int64_t>::max();
  std::string reason = {};  ///< behind `prompt of 17 tokens`

  /// The smaller one stays.
  void lower_to(const TokenBound& other) {
    if (other.tokens < tokens) *this = other;
  }
};

struct RecordNeeds {
  /// Who compares with the reference answer, such as `call reward`; empty: nobody.
  std::string answer_reader = {};
  /// Whether an answer can be right at all; empty: any can.
  std::function<bool(std::string_view answer)> can_be_right = {};
  TokenBound prompt = {};    ///< prompts: what leaves room for an answer
  TokenBound sequence = {};  ///< prompt, completion and end token
  /// Longer prompts leave their answers less than they may have.
  int64_t roomy_prompt = std::numeric_limits<int64_t>::max();
  /// Of pre-tokenized datasets: what the model's tokenizer puts before a text.
  std::vector<int32_t> template_tokens = {};
  /// Fields of which it is to be counted how many records have them.
  std::vector<std::string> fields = {};
  /// The same of values of these fields, `none` where a record lacks one; `/` is `_`, as in names
  /// of metrics.
  std::vector<std::pair<std::string, std::string>> values = {};
  /// Given the whole prompt of each usable record as text, without what add_bos puts before it.
  std::function<void(std::string_view prompt)> on_prompt = {};
  /// Lengths of all records cost tokenising all of them.
  enum class Lengths : uint8_t { kWhereNeeded, kOfAll };
  Lengths lengths = Lengths::kWhereNeeded;
};

struct LengthSummary {
  int64_t n = 0;
  double mean = 0;
  int64_t percentile_99 = 0;  ///< the smallest length that 99 % do not exceed
  int64_t longest = 0;

  static LengthSummary of(std::vector<int32_t> lengths);

  bool operator==(const LengthSummary&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(n, mean, percentile_99, longest);
  }
};

/// Counts over the usable records. Lines are those of RejectedRecord.
struct RecordSummary {
  int64_t n_with_id = 0;
  int64_t n_with_system = 0;
  int64_t n_with_answer = 0;
  int64_t n_with_template_tokens =
      0;  ///< pre-tokenized datasets: prompts that begin as the tokenizer's template
  int64_t n_cramped = 0;  ///< prompts beyond RecordNeeds::roomy_prompt
  int64_t first_cramped = 0;
  int64_t n_never_right = 0;  ///< answers that RecordNeeds::can_be_right refuses
  int64_t first_never_right = 0;
  std::vector<int64_t> n_with_field;  ///< in the order of RecordNeeds::fields
  std::vector<int64_t> n_with_value;  ///< in the order of RecordNeeds::values
  LengthSummary prompts;              ///< Lengths::kOfAll only
  LengthSummary sequences;            ///< the same; of prompts nothing

  bool operator==(const RecordSummary&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(n_with_id, n_with_system, n_with_answer, n_with_template_tokens, n_cramped,
            first_cramped, n_never_right, first_never_right, n_with_field, n_with_value, prompts,
            sequences);
  }
};

/// Fills a RecordSummary, record by record, for either kind of index.
class RecordSummarizer {
 public:
  explicit RecordSummarizer(const RecordNeeds& needs) : needs_(needs) {}

  bool wants_lengths() const { return needs_.lengths == RecordNeeds::Lengths::kOfAll; }
  /// Whether someone compares with the answer of a record and cannot. Of spaces alone it is as good
  /// as none: rules compare without those at the ends.
  bool lacks_answer(std::string_view answer) const {
    return !needs_.answer_reader.empty() && is_blank(answer);
  }

  /// A usable record. Lengths may be upper bounds unless wants_lengths().
  struct Seen {
    int64_t line = 0;
    bool has_id = false;
    bool has_system = false;
    bool has_template_tokens = false;
    std::string_view answer;
    int64_t n_prompt = 0;
    std::span<const int64_t> n_sequences = {};
    std::string_view fields = {};  ///< JSON object of its other fields, where they are wanted
  };
  bool wants_fields() const { return !needs_.fields.empty(); }
  void add(const Seen& record);
  RecordSummary take();

 private:
  void count_fields(std::string_view fields);
  static bool is_blank(std::string_view answer);

  const RecordNeeds& needs_;
  RecordSummary summary_;
  std::vector<int32_t> prompts_;
  std::vector<int32_t> sequences_;
};

}  // namespace orrery::data
