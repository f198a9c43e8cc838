// A step that is drawn again until it is full, turn by turn.
#include <gtest/gtest.h>

#include "calls_for_test.h"
#include "orrery/base/error.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {
namespace {

using Texts = std::vector<std::string>;

/// Handles of the requests, flushes left out.
Texts sent(const std::vector<Outgoing>& outgoing) {
  Texts result;
  for (const Outgoing& out : outgoing) {
    if (out.worker != kEveryWorker) result.emplace_back(comm::name_of(out.request.kind));
  }
  return result;
}

std::vector<uint64_t> ids_of(const Outgoing& out) {
  std::vector<uint64_t> result;
  for (const data::SampleId id : out.request.batch.ids) result.push_back(id.value);
  return result;
}

/// What a worker answers whose call made `key`; `rewards` are reported for each sample.
std::vector<comm::Reply> answer(const Outgoing& out, const std::string& key,
                                const Texts& rewards = {}) {
  comm::Reply reply;
  reply.worker = out.worker;
  reply.request = out.request.id;
  reply.call = out.request.call;
  reply.output.ids = out.request.batch.ids;
  for (const data::RowRef& row : out.request.rows) reply.output.ids.push_back(row.id);
  data::KeyMetadata made{.key = key, .trailing_shape = {}, .lengths = {}};
  for (size_t i = 0; i < reply.output.ids.size(); ++i) made.lengths.add_sample(3);
  reply.output.keys.push_back(made);
  if (!rewards.empty()) reply.output.extra[comm::kReportedValues] = rewards;
  std::vector<comm::Reply> replies;
  replies.push_back(std::move(reply));
  return replies;
}

DispatcherOptions sampling(DynamicSamplingOptions rule) {
  rule.batch_groups = rule.groups_per_round = 4;
  DispatcherOptions options;
  options.stop.total_steps = 1;
  options.refill = RefillOptions{.rule = rule};
  return options;
}

/// From a load to the judgement of what was loaded.
std::vector<Outgoing> judge(Dispatcher& dispatcher, std::vector<Outgoing> out,
                            const Texts& rewards) {
  out = dispatcher.advance(answer(out[0], "packed_prompts"), 0);
  out = dispatcher.advance(answer(out[0], "packed_input_ids"), 0);
  return dispatcher.advance(answer(out[0], "rewards", rewards), 0);
}

const std::string kMixed = "[1.0,0.0]";
const std::string kSolved = "[1.0,1.0]";

TEST(Refill, DrawsAgainUntilTheStepIsFullAndTrainsOnTheAcceptedGroupsInOrder) {
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4), sampling({}));

  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  out = judge(dispatcher, std::move(out), {kMixed, kSolved, kSolved, kMixed});
  EXPECT_EQ(sent(out), (Texts{"load"})) << "two groups are missing";
  EXPECT_EQ(out[0].request.clear.size(), 2u) << "the rejected ones are forgotten";
  out = judge(dispatcher, std::move(out), {kMixed, kMixed, kMixed, kSolved});

  ASSERT_EQ(sent(out), (Texts{"train_step"}));
  EXPECT_EQ(ids_of(out[0]), (std::vector<uint64_t>{1, 4, 5, 6}));
  dispatcher.advance(answer(out[0], "none"), 0);
  const auto step = std::get<StepReport>(dispatcher.take_reports().front());
  const std::map<std::string, double> numbers = numbers_of(step);
  EXPECT_EQ(numbers.at("dynamic_sampling/rounds"), 2);
  EXPECT_EQ(numbers.at("dynamic_sampling/rejected_groups"), 3);
  EXPECT_EQ(numbers.at("dynamic_sampling/carried_over"), 1);
  EXPECT_EQ(dispatcher.buffer().size(), 1) << "the group that is carried over";
}

TEST(Refill, TrainsOnFewerGroupsWhenTheRoundsAreUsedUpAndThatIsAskedFor) {
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4),
                        sampling({.max_rounds = 1, .on_limit = OnLimit::kUsePartial}));

  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  out = judge(dispatcher, std::move(out), {kSolved, kMixed, kSolved, "[1.0,null]"});

  ASSERT_EQ(sent(out), (Texts{"train_step"}));
  EXPECT_EQ(ids_of(out[0]), std::vector<uint64_t>{2});
}

TEST(Refill, EndsTheRunWhenTheRoundsAreUsedUpOtherwise) {
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4), sampling({.max_rounds = 1}));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);

  EXPECT_THROW(judge(dispatcher, std::move(out), {kSolved, kMixed, kSolved, kMixed}), CallError);
}

TEST(Refill, EndsTheRunWhenNothingCouldBeTrainedOn) {
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4),
                        sampling({.max_rounds = 1, .on_limit = OnLimit::kUsePartial}));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);

  EXPECT_THROW(judge(dispatcher, std::move(out), {kSolved, kSolved, kSolved, kSolved}), CallError);
}

TEST(Refill, GoesOverTheDataOnceAtMost) {
  Dispatcher dispatcher(grpo_graph({}), order_of(9, 4), sampling({}));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  const Texts none = {kSolved, kSolved, kSolved, kSolved};
  out = judge(dispatcher, std::move(out), none);

  EXPECT_THROW(judge(dispatcher, std::move(out), none), CallError) << "8 of 9 prompts were drawn";
}

TEST(PromptFilter, PassesOverPromptsOutOfItsBoundsUntilTheyAreTriedAgain) {
  PromptStatistics statistics;
  const data::RowRef easy{.row = 1, .id = {}}, hard{.row = 2, .id = {}}, fresh{.row = 3, .id = {}};
  statistics.note(easy, std::vector<double>{1, 1}, 0, false);
  statistics.note(hard, std::vector<double>{0, 1, 0, 0}, 0, true);
  const PromptFilter filter{.after_answers = 2, .max_pass_rate = 0.9, .retry_after = 1};

  EXPECT_FALSE(statistics.draws(easy, filter, 0));
  EXPECT_TRUE(statistics.draws(easy, filter, 0)) << "tried again";
  EXPECT_TRUE(statistics.draws(hard, filter, 0));
  EXPECT_TRUE(statistics.draws(fresh, filter, 0));
}

TEST(PromptFilter, BeginsWithTheEasyOnes) {
  const PromptFilter filter{
      .after_answers = 1, .min_pass_rate = 0.1, .easy_first_steps = 4, .easy_first_from = 0.5};

  EXPECT_DOUBLE_EQ(filter.lower_bound(0), 0.5);
  EXPECT_DOUBLE_EQ(filter.lower_bound(2), 0.3);
  EXPECT_DOUBLE_EQ(filter.lower_bound(9), 0.1);
}

}  // namespace
}  // namespace orrery::master
