#include "orrery/algorithm/responses.h"

#include <algorithm>  // find

#include "orrery/algorithm/call_statistics.h"  // kDatasetOfSample
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/data/dataset.h"  // kRecordOfSample

namespace orrery::algorithm {

namespace {

/// One text of the samples of a batch; empty texts where it has no such key.
std::vector<std::string> texts_of(const data::SequenceBatch& batch, const char* key) {
  std::vector<std::string> texts(batch.size());
  const data::KeyMetadata* metadata = batch.meta.find(key);
  if (metadata == nullptr) return texts;
  const at::Tensor bytes = batch.at(key).contiguous();
  const auto* byte = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  for (size_t i = 0; i < texts.size(); ++i) {
    texts[i].assign(byte, static_cast<size_t>(metadata->lengths.total(i)));
    byte += texts[i].size();
  }
  return texts;
}

/// One JSON text of the samples of a batch; null where it says nothing.
std::vector<std::string> extras_of(const data::SequenceBatch& batch, const char* name) {
  const auto texts = batch.meta.extra.find(name);
  if (texts != batch.meta.extra.end()) return texts->second;
  return std::vector<std::string>(batch.size(), "null");
}

nlohmann::ordered_json value_of(const std::string& text) {
  return base::parse_json<nlohmann::ordered_json>(text).value;
}

}  // namespace

ResponseReader::ResponseReader(const data::SequenceBatch& batch, const data::Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      end_tokens_(tokenizer.eos_ids()),
      ids_(batch.meta.ids),
      datasets_(extras_of(batch, kDatasetOfSample)),
      records_(extras_of(batch, data::kRecordOfSample)),
      answers_(texts_of(batch, "answers")),
      fields_(texts_of(batch, "fields")),
      prompts_(texts_of(batch, "prompt_texts")) {}

Response ResponseReader::read(size_t sample, int member, std::span<const int32_t> tokens,
                              size_t n_prompt) const {
  const std::span<const int32_t> answer = tokens.subspan(n_prompt);
  const bool has_ended = !answer.empty() && std::find(end_tokens_.begin(), end_tokens_.end(),
                                                      answer.back()) != end_tokens_.end();
  return {.sample = ids_[sample],
          .member = member,
          .prompt = tokenizer_.decode(tokens.first(n_prompt)),
          .record_prompt = prompts_[sample],
          .text = tokenizer_.decode(has_ended ? answer.first(answer.size() - 1) : answer),
          .answer = answers_[sample],
          .fields = fields_[sample],
          .ended = has_ended,
          .n_tokens = static_cast<int32_t>(answer.size()),
          .tokens = {answer.begin(), answer.end()},
          .failure = {},
          .parts = {},
          .dataset = datasets_[sample],
          .record = records_[sample]};
}

std::vector<Response> responses_of(const data::SequenceBatch& batch,
                                   const data::Tokenizer& tokenizer) {
  const data::NestedLengths& lengths = batch.meta.at("packed_input_ids").lengths;
  const at::Tensor ids = batch.at("packed_input_ids").to(at::kInt).contiguous();
  const at::Tensor prompt_mask = batch.at("prompt_mask").to(at::kBool).contiguous();
  const int32_t* token = ids.const_data_ptr<int32_t>();
  const bool* is_prompt = prompt_mask.const_data_ptr<bool>();

  const ResponseReader reader(batch, tokenizer);
  std::vector<Response> responses;
  for (size_t i = 0; i < batch.size(); ++i) {
    int member = 0;
    for (const int32_t n : lengths.of(i)) {
      int32_t prompt = 0;
      while (prompt < n && is_prompt[prompt]) ++prompt;
      responses.push_back(
          reader.read(i, member++, {token, static_cast<size_t>(n)}, static_cast<size_t>(prompt)));
      token += n;
      is_prompt += n;
    }
  }
  return responses;
}

void dump_responses(const std::filesystem::path& folder, int64_t step, int data_rank,
                    const std::vector<Response>& responses, const std::vector<float>& rewards) {
  const std::string name = base::concat(base::step_name(step), "-rank-", data_rank, ".jsonl");
  std::string lines;
  for (size_t i = 0; i < responses.size(); ++i) {
    const Response& response = responses[i];
    nlohmann::ordered_json line = {{"step", step},
                                   {"id", response.sample.value},
                                   {"member", response.member},
                                   {"prompt", response.prompt},
                                   {"response", response.text},
                                   {"answer", response.answer},
                                   {"reward", rewards[i]},
                                   {"finish", response.ended ? "eos" : "length"}};
    if (!response.failure.empty()) line["failed"] = response.failure;
    if (!response.parts.empty()) line["parts"] = response.parts;
    line["dataset"] = value_of(response.dataset);
    line["record"] = value_of(response.record);
    // A response may be cut inside a character.
    lines += base::json_line(line) + "\n";
  }
  base::AppendFile(folder / name).write(lines);
}

}  // namespace orrery::algorithm
