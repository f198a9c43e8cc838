// What an evaluation has found about single records, and the metrics of a set made of it. Workers
// report records; the master, which has those of all data ranks, puts them in the order of their
// rows before anything is added up: the metrics are the same numbers, to the last bit, in every
// layout. Plain values; any rank, an object belongs to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "orrery/metrics/sampled_accuracy.h"
#include "orrery/metrics/statistics.h"

namespace orrery::metrics {

/// One answer to a prompt. Example: {.n_tokens = 12, .is_right = true, .vote = "42"}
struct EvaluatedAnswer {
  int32_t n_tokens = 0;  ///< the end token included
  bool is_cut = false;   ///< by its length
  bool is_right = false;
  bool has_vote = false;                     ///< an answer could be read from it
  std::string vote = {};                     ///< that answer
  bool is_rewarded = false;                  ///< someone gave it `reward`
  double reward = 0;                         ///< the weighted sum; meaningless unless is_rewarded
  std::map<std::string, double> parts = {};  ///< what each reward gave, before its weight

  template <class Archive>
  void serialize(Archive& archive) {
    archive(n_tokens, is_cut, is_right, has_vote, vote, is_rewarded, reward, parts);
  }
  bool operator==(const EvaluatedAnswer&) const = default;
};

/// One record of a set: of prompts the answers to it, of completions its loss.
struct EvaluatedRecord {
  int64_t row = 0;  ///< of the data set
  std::vector<EvaluatedAnswer> answers = {};
  double loss_sum = 0;     ///< nats, over the tokens of the given answer
  double loss_tokens = 0;  ///< how many they are; 0: no loss is reported
  /// Of prompts: values of the fields that results are told apart by: {"level", "3"}.
  std::vector<std::pair<std::string, std::string>> by = {};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(row, answers, loss_sum, loss_tokens, by);
  }
  bool operator==(const EvaluatedRecord&) const = default;
};

/// What a set asks for beside the accuracy.
struct EvaluationMeasures {
  std::vector<int64_t> k = {};  ///< of pass@k, avg@k and, where there are votes, maj@k
  AnswerSubset subset = AnswerSubset::kFirst;
  VoteTie tie = VoteTie::kFirstSeen;
  bool counts_votes = false;  ///< a rule reads the answers
  bool has_rewards = false;
};

/// The metrics of a set, without `eval/`:
///   of answers  accuracy, pass@4, avg@4, maj@4, response_length, no_eos_ratio, n_prompts,
///               n_answers, reward, reward/math, no_reward
///   of losses   loss
/// and for each value of each field of `by` the measures again, as level=3/accuracy with
/// level=3/n_prompts. Records may come in any order. Throws CallError as maj_at_k.
Statistics evaluation_statistics(std::vector<EvaluatedRecord> records,
                                 const EvaluationMeasures& measures);

}  // namespace orrery::metrics
