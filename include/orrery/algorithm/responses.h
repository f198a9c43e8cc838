// Generated sequences as text: what reward rules, evaluations and dumps look at. Local.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "orrery/data/sequence_batch.h"
#include "orrery/data/tokenizer.h"

namespace orrery::algorithm {

/// One generated sequence.
struct Response {
  data::SampleId sample;
  int member = 0;             ///< of the sample's group
  std::string prompt;         ///< as the model got it
  std::string record_prompt;  ///< as the record has it; empty when it is not known
  std::string text;           ///< without the end token
  std::string answer;         ///< the record's reference answer; empty when it has none
  std::string fields;    ///< JSON object of the record's other fields; empty when not asked for
  bool ended = false;    ///< by the end token; false: cut by its length
  int32_t n_tokens = 0;  ///< of the response, the end token included
  std::vector<int32_t> tokens = {};  ///< of the response, the end token included
  /// Why it has no reward: `timeout`, ...; empty: it has one.
  std::string failure = {};
  /// What the reward is made of, if whoever gave it said so.
  std::map<std::string, double> parts = {};
  /// JSON texts: the data set's name; the record's line and id (data::kRecordOfSample).
  std::string dataset = "null";
  std::string record = "null";
};

/// Makes responses of samples whose texts are known, while their answers come one by one.
class ResponseReader {
 public:
  /// Of `batch` it takes the ids, what is known of the records and, if there, answers, fields and
  /// prompt_texts [bytes] uint8 (one text a sample). Keeps a reference to `tokenizer`.
  ResponseReader(const data::SequenceBatch& batch, const data::Tokenizer& tokenizer);

  /// `tokens`: prompt and answer of a member of the sample in this place of the batch.
  Response read(size_t sample, int member, std::span<const int32_t> tokens, size_t n_prompt) const;

 private:
  const data::Tokenizer& tokenizer_;
  std::vector<int32_t> end_tokens_;
  std::vector<data::SampleId> ids_;
  std::vector<std::string> datasets_, records_, answers_, fields_, prompts_;  // by sample
};

/// The sequences of a batch with packed_input_ids [T] and prompt_mask [T], and, if there,
/// answers, fields and prompt_texts [bytes] uint8 (one text a sample). Sample-major, member-minor.
std::vector<Response> responses_of(const data::SequenceBatch& batch,
                                   const data::Tokenizer& tokenizer);

/// Appends {"step","id","member","prompt","response","answer","reward","finish","dataset","record"}
/// for each response to `folder`/step-00000012-rank-0.jsonl (data rank 0), so that what a model
/// wrote can be read beside its rewards and found in the data. finish: `eos` or `length`. One
/// without a reward has its reason as "failed" and the reward null, or what stands for it; one
/// whose reward has parts has them as "parts". Throws OutputError.
void dump_responses(const std::filesystem::path& folder, int64_t step, int data_rank,
                    const std::vector<Response>& responses, const std::vector<float>& rewards);

}  // namespace orrery::algorithm
