#include "orrery/metrics/evaluation.h"

#include <algorithm>

#include "orrery/base/text.h"

namespace orrery::metrics {

namespace {

using base::concat;

SampledAnswers samples_of(const EvaluatedRecord& record, bool with_votes) {
  SampledAnswers samples;
  for (const EvaluatedAnswer& answer : record.answers) {
    samples.correct.push_back(answer.is_right);
    if (!with_votes) continue;
    samples.votes.push_back(answer.has_vote ? std::optional(answer.vote) : std::nullopt);
  }
  return samples;
}

/// How good the answers to one prompt are: each prompt counts once.
void add_measures(const EvaluatedRecord& record, const EvaluationMeasures& measures,
                  const std::string& prefix, Statistics& statistics) {
  const SampledAnswers samples = samples_of(record, measures.counts_votes);
  statistics.mean(prefix + "accuracy", avg_at_k(samples, samples.size(), AnswerSubset::kAll), 1);
  for (const int64_t k : measures.k) {
    statistics.mean(concat(prefix, "pass@", k), pass_at_k(samples, k), 1);
    statistics.mean(concat(prefix, "avg@", k), avg_at_k(samples, k, measures.subset), 1);
    if (!measures.counts_votes) continue;
    statistics.mean(concat(prefix, "maj@", k), maj_at_k(samples, k, measures.subset, measures.tie),
                    1);
  }
  statistics.sum(prefix + "n_prompts", 1);
}

void add_answers(const EvaluatedRecord& record, const EvaluationMeasures& measures,
                 Statistics& statistics) {
  for (const EvaluatedAnswer& answer : record.answers) {
    statistics.mean("response_length", answer.n_tokens, 1);
    statistics.mean("no_eos_ratio", answer.is_cut ? 1 : 0, 1);
    statistics.sum("n_answers", 1);
    if (!measures.has_rewards) continue;
    if (answer.is_rewarded) statistics.mean("reward", answer.reward, 1);
    statistics.sum("no_reward", answer.is_rewarded ? 0 : 1);
    for (const auto& [name, part] : answer.parts) statistics.mean("reward/" + name, part, 1);
  }
}

/// A slash would begin another part of the metric's name.
std::string name_of(const std::pair<std::string, std::string>& value) {
  std::string name = concat(value.first, "=", value.second);
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

}  // namespace

Statistics evaluation_statistics(std::vector<EvaluatedRecord> records,
                                 const EvaluationMeasures& measures) {
  std::sort(records.begin(), records.end(),
            [](const EvaluatedRecord& a, const EvaluatedRecord& b) { return a.row < b.row; });
  Statistics statistics;
  for (const EvaluatedRecord& record : records) {
    if (record.loss_tokens > 0) statistics.mean("loss", record.loss_sum, record.loss_tokens);
    if (!record.answers.empty()) {
      add_measures(record, measures, "", statistics);
      add_answers(record, measures, statistics);
    }
    for (const auto& value : record.by) {
      add_measures(record, measures, name_of(value) + "/", statistics);
    }
  }
  return statistics;
}

}  // namespace orrery::metrics
