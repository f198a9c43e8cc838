// pass@k, avg@k and maj@k against the vectors of objectives, and where these do not reach.
#include <gtest/gtest.h>

#include <cmath>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/metrics/sampled_accuracy.h"
#include "orrery/metrics/statistics.h"

namespace orrery::metrics {
namespace {

std::string vectors() { return (golden::objectives_directory() / "evaluation.json").string(); }

SampledAnswers answers_of(const nlohmann::json& problem) {
  SampledAnswers answers;
  for (const int64_t flag : golden::integers(problem.at("correct"))) {
    answers.correct.push_back(flag != 0);
  }
  if (problem.at("answers").is_null()) return answers;
  for (const nlohmann::json& text : problem.at("answers")) {
    answers.votes.push_back(text.is_null() ? std::nullopt : std::optional(text.get<std::string>()));
  }
  return answers;
}

double measured(const SampledAnswers& answers, const nlohmann::json& options) {
  const std::string metric = options.at("metric").get<std::string>();
  const int64_t k = golden::to_int64(options.at("k"));
  if (metric == "pass_at_k") return pass_at_k(answers, k);
  const AnswerSubset subset = answer_subset_named(options.at("subset").get<std::string>());
  if (metric == "avg_at_k") return avg_at_k(answers, k, subset);
  return maj_at_k(answers, k, subset, vote_tie_named(options.at("tie").get<std::string>()));
}

TEST(SampledAccuracyGolden, IsThatOfTheVectors) {
  const nlohmann::json& tolerance = golden::load(vectors())["tolerance"];
  const golden::Tolerance close{.relative = tolerance["relative"].get<double>(),
                                .absolute = tolerance["absolute"].get<double>()};
  const golden::Count count = golden::for_each_case(vectors(), "cases", [&](const golden::Case& c) {
    std::vector<double> got;
    Statistics statistics;
    for (const nlohmann::json& problem : c["problems"]) {
      got.push_back(measured(answers_of(problem), c["options"]));
      statistics.mean("of all", got.back(), 1);  // as evaluation_statistics() does
    }

    golden::expect_close(std::span<const double>(got), c.expect().at("per_problem"), "per_problem",
                         close);
    const std::optional<double> mean = statistics.value("of all");
    if (!mean) throw CallError("a mean over no problem: the program reports none");
    golden::expect_close(*mean, c.expect().at("mean"), "mean", close);
  });
  EXPECT_GT(count.ran, 0);
  EXPECT_EQ(count.left_out, 0);
}

/// The mean over all sets of k, one after the other.
double by_enumeration(const SampledAnswers& answers, size_t k) {
  const size_t n = answers.correct.size();
  double sum = 0, sets = 0;
  for (uint32_t set = 0; set < (1U << n); ++set) {
    SampledAnswers chosen;
    for (size_t i = 0; i < n; ++i) {
      if ((set >> i & 1U) == 0) continue;
      chosen.correct.push_back(answers.correct[i]);
      chosen.votes.push_back(answers.votes[i]);
    }
    if (chosen.correct.size() != k) continue;
    sum += maj_at_k(chosen, chosen.size(), AnswerSubset::kFirst, VoteTie::kFractional);
    ++sets;
  }
  return sum / sets;
}

TEST(SampledAccuracy, AVoteOverAllSubsetsIsTheMeanOverEachOfThem) {
  const SampledAnswers answers{
      .correct = {true, false, true, false, false, true, false, false, true},
      .votes = {"4", "5", "four", std::nullopt, "5", "4", "6", "5", "4"}};
  for (int64_t k = 1; k <= answers.size(); ++k) {
    EXPECT_NEAR(maj_at_k(answers, k, AnswerSubset::kAll, VoteTie::kFractional),
                by_enumeration(answers, static_cast<size_t>(k)), 1e-12)
        << "k = " << k;
  }
}

TEST(SampledAccuracy, DoesNotOverflowForManyAnswers) {
  SampledAnswers answers;
  for (int i = 0; i < 4000; ++i) {
    answers.correct.push_back(i % 4 == 0);
    answers.votes.push_back(i % 4 == 0 ? "right" : "wrong");
  }
  EXPECT_EQ(pass_at_k(answers, 4000), 1);
  EXPECT_NEAR(pass_at_k(answers, 1), 0.25, 1e-12);
  EXPECT_NEAR(maj_at_k(answers, 3, AnswerSubset::kAll, VoteTie::kFractional),
              (3 * 0.25 * 0.25 * 0.75 + 0.25 * 0.25 * 0.25), 1e-3);
}

TEST(SampledAccuracy, RefusesToVoteOverAllSubsetsByWhoCameFirst) {
  const SampledAnswers answers{.correct = {true}, .votes = {"4"}};
  EXPECT_THROW(maj_at_k(answers, 1, AnswerSubset::kAll, VoteTie::kFirstSeen), CallError);
}

}  // namespace
}  // namespace orrery::metrics
