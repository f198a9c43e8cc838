#include "orrery/metrics/sampled_accuracy.h"

#include <algorithm>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::metrics {

namespace {

int64_t n_right(const SampledAnswers& answers) {
  return std::count(answers.correct.begin(), answers.correct.end(), true);
}

void check_k(const SampledAnswers& answers, int64_t k) {
  if (k >= 1 && k <= answers.size()) return;
  throw CallError("a measure of k answers",
                  {.expected = base::concat("k from 1 to the number of answers, ", answers.size()),
                   .got = base::concat("k = ", k),
                   .advice = {}});
}

/// One answer that some of the samples gave.
struct Candidate {
  std::string_view text;
  int64_t votes = 0;
  bool is_right = false;
};

/// Of the first k samples, in the order in which they came.
std::vector<Candidate> candidates_of(const SampledAnswers& answers, int64_t k) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < static_cast<size_t>(k); ++i) {
    if (!answers.votes[i]) continue;
    const std::string_view text = *answers.votes[i];
    auto known = std::find_if(candidates.begin(), candidates.end(),
                              [&](const Candidate& c) { return c.text == text; });
    if (known == candidates.end()) {
      candidates.push_back({.text = text, .votes = 0, .is_right = answers.correct[i]});
      known = candidates.end() - 1;
    }
    if (known->is_right != answers.correct[i]) {
      throw CallError(base::concat("the answer '", text, "' to one problem"),
                      {.expected = "that it is right or that it is wrong",
                       .got = "both, each from one of its samples",
                       .advice = "count votes only where the answer alone decides"});
    }
    ++known->votes;
  }
  return candidates;
}

double vote_of(const std::vector<Candidate>& candidates, VoteTie tie) {
  int64_t most = 0;
  for (const Candidate& candidate : candidates) most = std::max(most, candidate.votes);
  if (most == 0) return 0;
  double winners = 0;
  double right = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.votes < most) continue;
    if (tie == VoteTie::kFirstSeen) return candidate.is_right ? 1 : 0;
    ++winners;
    if (candidate.is_right) ++right;
  }
  return right / winners;
}

/// Numbers of ways: beyond double from n = 1030 on, within long double up to n = 16000.
using Ways = long double;

Ways choose(int64_t n, int64_t k) {
  if (k < 0 || k > n) return 0;
  Ways ways = 1;
  for (int64_t i = 1; i <= std::min(k, n - k); ++i) {
    ways = ways * static_cast<Ways>(n - std::min(k, n - k) + i) / static_cast<Ways>(i);
  }
  return ways;
}

/// Sums over all sets of k of `n_answers` samples the share of the winners that are right: for each
/// number of votes v that a right answer may win with, the ways in which every other answer has at
/// most as many, by how many of them tie with it.
double vote_of_all_subsets(const std::vector<Candidate>& candidates, int64_t n_answers, int64_t k) {
  int64_t n_votes = 0;
  for (const Candidate& candidate : candidates) n_votes += candidate.votes;
  const int64_t n_without = n_answers - n_votes;
  Ways sum = 0;
  for (size_t own = 0; own < candidates.size(); ++own) {
    if (!candidates[own].is_right) continue;
    for (int64_t v = 1; v <= std::min(k, candidates[own].votes); ++v) {
      const int64_t left = k - v;  // that others take
      const auto n_left = static_cast<size_t>(left) + 1;
      const size_t n_ties = static_cast<size_t>(left / v) + 1;
      // ways[ties][taken]
      std::vector<std::vector<Ways>> ways(n_ties, std::vector<Ways>(n_left));
      ways[0][0] = 1;
      for (size_t other = 0; other < candidates.size(); ++other) {
        if (other == own) continue;
        std::vector<std::vector<Ways>> next(n_ties, std::vector<Ways>(n_left));
        const int64_t most = std::min(v, candidates[other].votes);
        for (int64_t w = 0; w <= most; ++w) {
          const Ways factor = choose(candidates[other].votes, w);
          const size_t tie = w == v ? 1 : 0;
          for (size_t t = 0; t + tie < n_ties; ++t) {
            for (size_t taken = 0; taken + static_cast<size_t>(w) < n_left; ++taken) {
              next[t + tie][taken + static_cast<size_t>(w)] += factor * ways[t][taken];
            }
          }
        }
        ways = std::move(next);
      }
      for (size_t t = 0; t < n_ties; ++t) {
        for (size_t taken = 0; taken < n_left; ++taken) {
          sum += choose(candidates[own].votes, v) * ways[t][taken] *
                 choose(n_without, left - static_cast<int64_t>(taken)) / static_cast<Ways>(t + 1);
        }
      }
    }
  }
  return static_cast<double>(sum / choose(n_answers, k));
}

}  // namespace

AnswerSubset answer_subset_named(std::string_view name) {
  if (name == "first_k") return AnswerSubset::kFirst;
  if (name == "all_subsets") return AnswerSubset::kAll;
  throw ConfigError(base::concat("unknown subset '", name, "'; there are first_k and all_subsets"));
}

VoteTie vote_tie_named(std::string_view name) {
  if (name == "first_seen") return VoteTie::kFirstSeen;
  if (name == "fractional") return VoteTie::kFractional;
  throw ConfigError(base::concat("unknown tie '", name, "'; there are first_seen and fractional"));
}

double pass_at_k(const SampledAnswers& answers, int64_t k) {
  check_k(answers, k);
  const int64_t n = answers.size();
  const int64_t wrong = n - n_right(answers);
  // C(wrong, k) / C(n, k) as a product: the numbers of ways themselves may be beyond any type.
  double all_wrong = 1;
  for (int64_t i = 0; i < k; ++i) {
    all_wrong *= static_cast<double>(std::max<int64_t>(wrong - i, 0)) / static_cast<double>(n - i);
  }
  return 1 - all_wrong;
}

double avg_at_k(const SampledAnswers& answers, int64_t k, AnswerSubset subset) {
  check_k(answers, k);
  if (subset == AnswerSubset::kAll) {  // every answer is in as many sets as any other
    return static_cast<double>(n_right(answers)) / static_cast<double>(answers.size());
  }
  const auto right = std::count(answers.correct.begin(), answers.correct.begin() + k, true);
  return static_cast<double>(right) / static_cast<double>(k);
}

double maj_at_k(const SampledAnswers& answers, int64_t k, AnswerSubset subset, VoteTie tie) {
  check_k(answers, k);
  if (answers.votes.size() != answers.correct.size()) {
    throw CallError("votes of one problem", {.expected = base::concat(answers.size(), " votes"),
                                             .got = base::concat(answers.votes.size()),
                                             .advice = {}});
  }
  // All of them, whatever k is: an answer that is both right and wrong is one wherever it comes.
  const std::vector<Candidate> of_all = candidates_of(answers, answers.size());
  if (subset == AnswerSubset::kFirst) return vote_of(candidates_of(answers, k), tie);
  if (tie == VoteTie::kFirstSeen) {
    throw CallError("maj@k over all subsets", {.expected = "tie = fractional",
                                               .got = "tie = first_seen",
                                               .advice = "or subset = first_k"});
  }
  return vote_of_all_subsets(of_all, answers.size(), k);
}

}  // namespace orrery::metrics
