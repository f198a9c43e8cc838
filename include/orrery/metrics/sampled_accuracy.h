// How good a model is at a problem of which it has given several answers: pass@k, avg@k, maj@k.
// In double; a result depends on nothing but its arguments. Pure; any rank, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::metrics {

/// The n answers to one problem, in the order in which they were drawn.
struct SampledAnswers {
  std::vector<bool> correct;  ///< [n]
  /// [n] what each votes for; nothing: no answer could be read, so it has no vote. Empty where
  /// nobody votes.
  std::vector<std::optional<std::string>> votes = {};

  int64_t size() const { return static_cast<int64_t>(correct.size()); }
};

/// Which k of the n answers avg@k and maj@k look at.
enum class AnswerSubset {
  kFirst,  ///< the first k
  kAll,    ///< the mean over all sets of k, without drawing any
};

/// Who wins where several answers have the most votes.
enum class VoteTie {
  kFirstSeen,   ///< the one of them that came first
  kFractional,  ///< the share of them that are right counts
};

/// `first_k` or `all_subsets`; `first_seen` or `fractional`. Throw ConfigError for another name.
AnswerSubset answer_subset_named(std::string_view name);
VoteTie vote_tie_named(std::string_view name);

/// The probability that one of k answers is right: 1 - C(n-c, k) / C(n, k) with c right ones, the
/// unbiased estimate of arXiv:2107.03374. All three throw CallError unless 1 <= k <= n.
double pass_at_k(const SampledAnswers& answers, int64_t k);

/// The share of right ones among k answers.
double avg_at_k(const SampledAnswers& answers, int64_t k, AnswerSubset subset);

/// Whether the answer with the most votes among k is right (arXiv:2203.11171). Answers are the same
/// if their texts are; where none has a vote the problem is not solved.
/// kAll: O(n k^2), and with kFractional only. Throws CallError also for that, for an answer that is
/// both right and wrong, and when the votes are not as many as the answers.
double maj_at_k(const SampledAnswers& answers, int64_t k, AnswerSubset subset, VoteTie tie);

}  // namespace orrery::metrics
