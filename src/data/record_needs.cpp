#include "orrery/data/record_needs.h"

#include <algorithm>  // nth_element, replace
#include <numeric>    // accumulate
#include <utility>    // move

#include "orrery/base/index.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"  // concat, trim

namespace orrery::data {

LengthSummary LengthSummary::of(std::vector<int32_t> lengths) {
  LengthSummary summary;
  summary.n = static_cast<int64_t>(lengths.size());
  if (lengths.empty()) return summary;
  summary.mean =
      std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(lengths.size());
  summary.longest = *std::max_element(lengths.begin(), lengths.end());
  const auto place = static_cast<std::ptrdiff_t>((lengths.size() * 99 + 99) / 100 - 1);
  std::nth_element(lengths.begin(), lengths.begin() + place, lengths.end());
  summary.percentile_99 = lengths[base::index(place)];
  return summary;
}

bool RecordSummarizer::is_blank(std::string_view answer) { return base::trim(answer).empty(); }

void RecordSummarizer::add(const Seen& record) {
  summary_.n_with_id += record.has_id ? 1 : 0;
  summary_.n_with_system += record.has_system ? 1 : 0;
  summary_.n_with_template_tokens += record.has_template_tokens ? 1 : 0;
  summary_.n_with_answer += record.answer.empty() ? 0 : 1;
  if (record.n_prompt > needs_.roomy_prompt && summary_.n_cramped++ == 0) {
    summary_.first_cramped = record.line;
  }
  if (needs_.can_be_right && !needs_.can_be_right(record.answer) && summary_.n_never_right++ == 0) {
    summary_.first_never_right = record.line;
  }
  if (wants_fields()) count_fields(record.fields);
  if (!wants_lengths()) return;
  prompts_.push_back(static_cast<int32_t>(record.n_prompt));
  for (const int64_t n : record.n_sequences) sequences_.push_back(static_cast<int32_t>(n));
}

void RecordSummarizer::count_fields(std::string_view fields) {
  summary_.n_with_field.resize(needs_.fields.size());
  const nlohmann::json object = base::parse_json(fields).value;
  for (std::size_t i = 0; i < needs_.fields.size(); ++i) {
    const auto found = object.find(needs_.fields[i]);
    if (found != object.end() && !found->is_null()) ++summary_.n_with_field[i];
  }
  summary_.n_with_value.resize(needs_.values.size());
  for (std::size_t i = 0; i < needs_.values.size(); ++i) {
    const auto& [field, value] = needs_.values[i];
    std::string text = base::field_text(object, field);
    std::replace(text.begin(), text.end(), '/', '_');
    if (text == value) ++summary_.n_with_value[i];
  }
}

RecordSummary RecordSummarizer::take() {
  summary_.n_with_field.resize(needs_.fields.size());
  summary_.n_with_value.resize(needs_.values.size());
  summary_.prompts = LengthSummary::of(std::move(prompts_));
  summary_.sequences = LengthSummary::of(std::move(sequences_));
  return summary_;
}

}  // namespace orrery::data
