#include "orrery/report/samples.h"

#include <algorithm>
#include <limits>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "run_for_test.h"

namespace orrery::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// `per_step` answers of 10 bytes for each of `n_steps` steps, rewards 0.
std::vector<SamplePlace> places_of(int64_t n_steps, size_t per_step) {
  std::vector<SamplePlace> places;
  for (int64_t step = 1; step <= n_steps; ++step) {
    for (size_t i = 0; i < per_step; ++i) {
      places.push_back(
          {.step = step, .record = 1000 * static_cast<uint64_t>(step) + i, .length = 10});
    }
  }
  return places;
}

void expect_contains(const std::vector<size_t>& chosen, const std::vector<size_t>& wanted) {
  for (const size_t index : wanted) EXPECT_THAT(chosen, ::testing::Contains(index));
}

TEST(ChooseSamples, TakesAllWhereTheyFit) {
  EXPECT_THAT(choose_samples(places_of(2, 2), {}), ElementsAre(0, 1, 2, 3));
}

TEST(ChooseSamples, TakesFirstLastBestAndWorstOfEachStep) {
  auto places = places_of(3, 100);
  places[150].reward = 1;
  places[160].reward = -1;
  const auto chosen = choose_samples(places, {.samples = 15, .changed = 0});

  EXPECT_EQ(chosen.size(), 15U);
  expect_contains(chosen, {0, 99, 100, 150, 160, 199, 200, 299});
}

TEST(ChooseSamples, SpacesTheStepsEvenlyWhereEachCannotHaveAShare) {
  const auto chosen = choose_samples(places_of(1000, 4), {.samples = 40, .changed = 0});

  EXPECT_EQ(chosen.size(), 40U);
  EXPECT_EQ(chosen.front(), 0U);
  EXPECT_EQ(chosen.back(), 3999U);
}

TEST(ChooseSamples, StaysBelowTheBytes) {
  const auto chosen = choose_samples(places_of(10, 10), {.bytes = 500, .changed = 0});
  EXPECT_LE(chosen.size(), 50U);
  EXPECT_GE(chosen.size(), 40U);
}

TEST(ChooseSamples, TakesTheRecordsWhoseRewardChangedMost) {
  auto places = places_of(100, 20);
  places[5].record = places[5 + 20 * 99].record = 7;
  places[5 + 20 * 99].reward = 1;
  const auto chosen = choose_samples(places, {.samples = 40, .changed = 1});

  expect_contains(chosen, {5, 5 + 20 * 99});
}

TEST(ChooseSamples, DoesNotStumbleOverAnswersWithoutAReward) {
  auto places = places_of(50, 10);
  for (SamplePlace& place : places) place.reward = std::numeric_limits<float>::quiet_NaN();
  places[7].reward = 0.5;
  const auto chosen = choose_samples(places, {.samples = 200});

  EXPECT_EQ(chosen.size(), 200U);
  expect_contains(chosen, {0, 7, 9});
}

TEST(IndexSamples, OrdersByStepAndNamesDamagedLines) {
  const RunForTest run;
  run.write("samples/step-00000002-rank-0.jsonl",
            "{\"step\":2,\"response\":\"b\",\"reward\":1}\nnonsense\n");
  run.write("samples/step-00000001-rank-0.jsonl",
            "{\"step\":1,\"response\":\"a\",\"reward\":null}\n{\"step\":1,\"resp");
  run.write("samples/notes.txt", "not looked at");
  const SampleIndex index = index_samples(run.root());

  ASSERT_EQ(index.places.size(), 2U);
  EXPECT_EQ(index.places[0].step, 1);
  EXPECT_EQ(index.places[1].step, 2);
  EXPECT_EQ(index.n_problems, 1);
  EXPECT_THAT(index.problems.front(), HasSubstr("step-00000002-rank-0.jsonl:2: not JSON"));
  EXPECT_EQ(read_sample_line(index, index.places[1]),
            "{\"step\":2,\"response\":\"b\",\"reward\":1}");
}

TEST(IndexSamples, LooksAtTheStepsThatAreAskedFor) {
  const RunForTest run;
  for (const char* step : {"1", "2", "3"}) {
    run.write(std::string("samples/step-0000000") + step + "-rank-0.jsonl",
              std::string("{\"step\":") + step + ",\"response\":\"\"}\n");
  }
  const SampleIndex index = index_samples(run.root(), {.first = 2, .last = 2});
  ASSERT_EQ(index.places.size(), 1U);
  EXPECT_EQ(index.places[0].step, 2);
}

TEST(ParseSample, TakesLogProbabilitiesThatBelongToTokens) {
  std::string problem;
  const auto sample = parse_sample(
      R"({"step":1,"response":"ab","tokens":["a","b"],"logprobs":[-0.5,null]})", problem);
  ASSERT_TRUE(sample);
  EXPECT_THAT(sample->tokens, ElementsAre("a", "b"));
  EXPECT_EQ(sample->log_probs[0], -0.5);

  const auto other =
      parse_sample(R"({"step":1,"response":"ab","tokens":["a"],"logprobs":[]})", problem);
  ASSERT_TRUE(other);
  EXPECT_TRUE(other->tokens.empty());
}

}  // namespace
}  // namespace orrery::report
