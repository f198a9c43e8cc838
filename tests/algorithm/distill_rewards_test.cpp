// On-policy distillation beside a reward: the advantage of a token is the teacher's plus that of
// the answer among the answers to its prompt. The reference is written out here, loop by loop.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model_for_test.h"
#include "orrery/algorithm/agreements.h"
#include "orrery/algorithm/distill.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// Two prompts of two tokens: three answers to the first, one of them without a reward, and two to
/// the second.
const std::vector<std::vector<int32_t>> kLengths = {{4, 3, 5}, {4, 3}};
const std::vector<std::vector<double>> kRewards = {{1, NAN, 0}, {0.25, 0.75}};

data::SequenceBatch batch_of_answers() {
  data::NestedLengths tokens;
  std::vector<int64_t> ids;
  std::vector<int32_t> is_prompt;
  std::vector<double> rewards;
  for (size_t p = 0; p < kLengths.size(); ++p) {
    tokens.add_sample(kLengths[p]);
    for (size_t i = 0; i < kLengths[p].size(); ++i) {
      rewards.push_back(kRewards[p][i]);
      for (int32_t t = 0; t < kLengths[p][i]; ++t) {
        ids.push_back(97 + static_cast<int64_t>(ids.size() * 7 % 26));
        is_prompt.push_back(t < 2 ? 1 : 0);
      }
    }
  }
  data::SequenceBatch batch;
  batch.meta.ids = {{1}, {2}};
  batch.set("packed_input_ids", at::tensor(ids, at::kLong), tokens);
  batch.set("prompt_mask", at::tensor(is_prompt, at::kInt).to(at::kBool), tokens);
  batch.set("rewards", at::tensor(rewards, at::kDouble).to(at::kFloat), one_each(tokens));
  const data::NestedLengths actions = action_lengths(tokens);
  const int64_t n = actions.grand_total();
  batch.set("packed_logprobs", -5 - at::arange(n, at::kDouble) / 10, actions);
  batch.set("teacher_logprobs", -5 + at::arange(n, at::kDouble).square() / 100, actions);
  return batch;
}

/// Of each answer.
std::vector<double> reference_advantages(const std::string& estimator) {
  std::vector<double> all;
  for (const std::vector<double>& group : kRewards) {
    double n = 0, sum = 0, squares = 0;
    for (const double r : group) {
      if (std::isnan(r)) continue;
      ++n;
      sum += r;
    }
    for (const double r : group) {
      if (!std::isnan(r)) squares += (r - sum / n) * (r - sum / n);
    }
    for (const double r : group) {
      double advantage = r - sum / n;
      if (estimator == "grpo") advantage /= std::sqrt(squares / n) + 1e-5;
      if (estimator == "rloo") advantage = r - (sum - r) / (n - 1);
      all.push_back(std::isnan(r) ? 0 : advantage);
    }
  }
  return all;
}

TEST(TaskAdvantages, AreThoseOfTheReferenceAtEachActionOfAnAnswer) {
  for (const char* estimator : {"grpo", "dr_grpo", "rloo"}) {
    SCOPED_TRACE(estimator);
    DistillOptions options;
    options.estimator = estimator;
    options.reward_coef = 0.5;
    const std::vector<double> of_answers = reference_advantages(estimator);
    std::vector<double> expected;
    size_t answer = 0;
    for (const auto& group : kLengths) {
      for (const int32_t n : group) {
        expected.insert(expected.end(), static_cast<size_t>(n - 1), 0.5 * of_answers[answer]);
        ++answer;
      }
    }

    const at::Tensor got = task_advantages(batch_of_answers(), options);

    EXPECT_TRUE(at::allclose(got, at::tensor(expected, at::kDouble), 1e-9, 1e-9)) << got;
  }
}

TEST(TaskAdvantages, AreNotMadeOfAnInfiniteReward) {
  data::SequenceBatch batch = batch_of_answers();
  batch.at("rewards")[0].fill_(INFINITY);
  DistillOptions options;
  options.estimator = "dr_grpo";

  EXPECT_THROW(task_advantages(batch, options), CallError);
}

/// Statistics of one train_step.
metrics::Statistics trained(const std::vector<config::Option>& options) {
  metrics::Statistics statistics;
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    model::Decoder decoder(tiny_architecture(), at::kDouble);
    decoder.parameters().initialise(3);
    parallel::OptimizerOptions optimizer;
    optimizer.schedule.max_lr = 1e-2;
    parallel::TrainEngine engine(decoder, optimizer, group);
    ModelContext model{
        .decoder = &decoder, .engine = &engine, .data_group = &group, .is_dp_head = true};
    statistics =
        make_interface("distill", options)->train_step(model, batch_of_answers(), {}).at(0);
  });
  return statistics;
}

TEST(DistillWithRewards, LearnsFromTheTeachersAdvantagePlusThatOfTheTask) {
  const metrics::Statistics got = trained({{.name = "estimator", .value = "dr_grpo", .where = {}},
                                           {.name = "coef", .value = "0.3", .where = {}},
                                           {.name = "reward_coef", .value = "2", .where = {}}});
  const data::SequenceBatch batch = batch_of_answers();
  const at::Tensor signal = 0.3 * (batch.at("teacher_logprobs") - batch.at("packed_logprobs"));
  const std::vector<double> task = reference_advantages("dr_grpo");
  double sum = 0, n = 0;
  int64_t action = 0;
  size_t answer = 0;
  for (const auto& group : kLengths) {
    for (const int32_t length : group) {
      for (int32_t t = 0; t < length - 1; ++t, ++action) {
        if (t == 0) continue;  // of the prompt
        sum += signal[action].item<double>() + 2 * task[answer];
        ++n;
      }
      ++answer;
    }
  }

  EXPECT_NEAR(got.value("advantage").value(), sum / n, 1e-9);
  EXPECT_NEAR(got.value("task_reward").value(), 0.5, 1e-9);
  EXPECT_EQ(got.value("left_out_answers"), 1.0);
}

TEST(DistillWithRewards, ReadsNoneWithoutAnEstimator) {
  EXPECT_FALSE(trained({}).value("task_reward").has_value());
}

/// Problems and warnings of a graph whose train_step has these inputs and lines.
std::vector<std::string> said(const std::string& inputs, const std::string& lines,
                              int group_size = 4) {
  const std::string text = base::concat(R"(
[experiment]
total_steps = 2
[dataset.d]
path = .
[model.actor]
[model.teacher]
[model.none]
architecture = none
[call.gen]
model = actor
kind = generate
interface = generate
n_seqs = 4
inputs = packed_prompts
outputs = packed_input_ids, prompt_mask, packed_logprobs
group_size = )",
                                        group_size, R"(
[call.reward]
model = none
kind = inference
interface = rule_reward
n_seqs = 4
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards
match = math
[call.teacher]
model = teacher
kind = inference
interface = distill
n_seqs = 4
inputs = packed_input_ids
outputs = packed_logprobs:teacher_logprobs
[call.train]
model = actor
kind = train_step
interface = distill
n_seqs = 4
inputs = packed_input_ids, prompt_mask, packed_logprobs, teacher_logprobs)",
                                        inputs, "\n", lines, "\n");
  config::LoadResult read = config::load_experiment_text(text, "x.cfg", interface_schemas());
  std::vector<config::Problem> problems = std::move(read.problems), warnings;
  inherit_options(read.experiment, problems, warnings);
  check_calls(read.experiment, problems, warnings);
  problems.insert(problems.end(), warnings.begin(), warnings.end());
  std::vector<std::string> all;
  for (const config::Problem& each : problems) all.push_back(each.message());
  return all;
}

TEST(DistillWithRewards, IsRefusedWhereRewardsAndOptionsDoNotFit) {
  EXPECT_THAT(said(", rewards", "estimator = grpo\nmatch = math"), IsEmpty());
  EXPECT_THAT(said("", "match = math"), IsEmpty());
  EXPECT_THAT(said("", "estimator = grpo"),
              Contains(AllOf(HasSubstr("x.cfg:"), HasSubstr("call.train.estimator"),
                             HasSubstr("add it to the inputs"))));
  EXPECT_THAT(said(", rewards", ""),
              Contains(AllOf(HasSubstr("call.train.inputs"),
                             HasSubstr("estimator = none reads no rewards"))));
  EXPECT_THAT(said(", rewards", "estimator = grpo\nreward_coef = 0"),
              Contains(HasSubstr("call.train.reward_coef")));
  EXPECT_THAT(said("", "reward_coef = 2"),
              Contains(AllOf(HasSubstr("call.train.reward_coef"), HasSubstr("no effect"))));
  EXPECT_THAT(said(", rewards", "estimator = opo"), Contains(HasSubstr("call.train.estimator")));
  EXPECT_THAT(said(", rewards", "estimator = rloo", 1),
              Contains(AllOf(HasSubstr("call.train.estimator"), HasSubstr("alone in its group"))));
}

TEST(DistillTemperature, ThatDiffersIsRefusedWithoutAdviceThatTheInterfaceCannotFollow) {
  EXPECT_THAT(said("", "temperature = 0.5"),
              AllOf(Contains(HasSubstr("call.train.temperature = 0.5 (x.cfg:")),
                    Each(Not(HasSubstr("recompute_log_probs")))));
  EXPECT_THAT(said("", "[call.teacher]\ntemperature = 0.5"),
              AllOf(Contains(HasSubstr("call.teacher.temperature = 0.5 (x.cfg:")),
                    Each(Not(HasSubstr("recompute_log_probs")))));
}

}  // namespace
}  // namespace orrery::algorithm
