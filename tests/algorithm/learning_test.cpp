// Every method learns, in miniature: a decoder with random weights is rewarded for answers that
// begin with a token of a kind, a quarter of the vocabulary. Generation, advantages and loss are
// those of a run. A method has learned when in each of three seeds the mean reward of the last
// tenth of the steps is above that of the first tenth by three standard errors or more; with
// advantages of zero (every answer is given one reward) the same measure must not say so.
//
// Prints the table of docs/algorithms.md.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "model_for_test.h"
#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/registry.h"
#include "progress_for_test.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

constexpr int kSteps = 60, kTenth = kSteps / 10;
constexpr int kPrompts = 8, kGroup = 8, kNewTokens = 3, kPromptLength = 3;

enum class Rewards { kOfAnswers, kAllEqual };

config::Option option(const std::string& name, const std::string& value) {
  return {.name = name, .value = value, .where = {}};
}

data::SequenceBatch prompts_of(int64_t step) {
  data::SequenceBatch prompts;
  std::vector<int64_t> ids;
  for (int i = 0; i < kPrompts; ++i) {
    prompts.meta.ids.push_back({static_cast<uint64_t>(step * kPrompts + i)});
    for (int t = 0; t < kPromptLength; ++t) ids.push_back(97 + (7 * i + 3 * t) % 26);
  }
  prompts.set("packed_prompts", at::tensor(ids, at::kLong),
              data::NestedLengths::of_single(std::vector<int32_t>(kPrompts, kPromptLength)));
  return prompts;
}

/// [N] 1 where the first token of the answer is of the kind.
at::Tensor rewards_of(const data::SequenceBatch& answers) {
  std::vector<float> rewards;
  const int64_t* ids = answers.at("packed_input_ids").const_data_ptr<int64_t>();
  for (const int32_t n : answers.meta.at("packed_input_ids").lengths.flat()) {
    rewards.push_back(ids[kPromptLength] % 4 == 0 ? 1 : 0);
    ids += n;
  }
  return at::tensor(rewards, at::kFloat);
}

data::NestedLengths one_an_answer() {
  data::NestedLengths lengths;
  const std::vector<int32_t> ones(kGroup, 1);
  for (int i = 0; i < kPrompts; ++i) lengths.add_sample(ones);
  return lengths;
}

Progress train(const Method& method, uint64_t seed, Rewards given) {
  Progress progress;
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    model::Decoder decoder(tiny_architecture(), at::kFloat);
    decoder.parameters().initialise(seed);
    parallel::OptimizerOptions optimizer;
    optimizer.schedule.max_lr = 1e-2;
    parallel::TrainEngine engine(decoder, optimizer, group);
    const data::ByteTokenizer tokenizer;
    ModelContext model{.decoder = &decoder,
                       .engine = &engine,
                       .tokenizer = &tokenizer,
                       .data_group = &group,
                       .is_dp_head = true};
    const auto generate =
        make_interface("generate", {option("group_size", std::to_string(kGroup)),
                                    option("max_new_tokens", std::to_string(kNewTokens))});
    std::vector<config::Option> options = {option("n_minibatches", "2")};
    for (const MethodOption& each : method.options) {
      options.push_back(option(each.name, each.value));
      if (std::string(each.value) == "constant") {
        options.push_back(option("constant_length", std::to_string(kNewTokens)));
      }
    }
    const auto policy = make_interface("grpo", options);
    CallContext call;
    call.call = "c";
    call.seed = seed;
    call.outputs = {method.keys.begin(), method.keys.end()};
    for (call.step = 1; call.step <= kSteps; ++call.step) {
      data::SequenceBatch answers = generate->generate(model, prompts_of(call.step), call);
      const at::Tensor rewards = rewards_of(answers);
      if (call.step <= kTenth) progress.first.add(rewards);
      if (call.step > kSteps - kTenth) progress.last.add(rewards);
      answers.set("rewards", given == Rewards::kOfAnswers ? rewards : at::ones_like(rewards),
                  one_an_answer());
      policy->train_step(model, answers, call);
    }
  });
  return progress;
}

constexpr uint64_t kSeeds[] = {1, 2, 3};

TEST(Learning, OfEachMethodIsSeenInEachSeed) {
  std::printf("| method | reward before -> after (gain in standard errors), seeds 1, 2, 3 |\n");
  for (const Method& method : methods()) {
    SCOPED_TRACE(method.name);
    std::printf("| `%s` |", method.name);
    for (const uint64_t seed : kSeeds) {
      const Progress got = train(method, seed, Rewards::kOfAnswers);
      std::printf(" %.2f -> %.2f (%.0f)%s", got.first.mean(), got.last.mean(), got.gain(),
                  seed == 3 ? " |\n" : ",");
      EXPECT_GE(got.gain(), kErrors) << "seed " << seed;
    }
    std::fflush(stdout);
  }
}

TEST(Learning, IsNotSeenInAnyMethodWithoutAdvantages) {
  for (const Method& method : methods()) {
    SCOPED_TRACE(method.name);
    // One seed that does not learn is enough for the measure to say no.
    EXPECT_LT(train(method, kSeeds[0], Rewards::kAllEqual).gain(), kErrors);
  }
}

}  // namespace
}  // namespace orrery::algorithm
