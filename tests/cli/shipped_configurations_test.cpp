#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/temporary_folder.h"
#include "job.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::cli {
namespace {

std::string config(const std::string& name) {
  return base::concat(ORRERY_SOURCE_DIR, "/configs/", name);
}

TEST(ShippedConfigurations, PassEveryCheck) {
  for (const char* name :
       {"grpo_tiny.cfg", "grpo_judge_tiny.cfg", "sft_arithmetic.cfg", "ppo_tiny.cfg",
        "ppo_disjoint.cfg", "ppo_layouts.cfg", "dpo_tiny.cfg", "kto_tiny.cfg", "simpo_tiny.cfg",
        "orpo_tiny.cfg", "distill_tiny.cfg", "distill_full_tiny.cfg", "reward_model_tiny.cfg"}) {
    SCOPED_TRACE(name);
    const Job job = prepare_job(config(name), {}, 4, DataCheck::kRead);
    EXPECT_GT(job.n_steps, 0);
  }
}

TEST(ShippedConfigurations, OfRecipesPassEveryCheckWithStandInSizesAndWithRealOnes) {
  for (const std::string recipe : {"sft", "dpo", "ppo_reward_model", "grpo", "distill"}) {
    for (const char* sizes : {"", "_0.5b"}) {
      SCOPED_TRACE(recipe + sizes);
      const Job job = prepare_job(config(base::concat("recipes/", recipe, sizes, ".cfg")), {}, 4,
                                  DataCheck::kRead);
      EXPECT_GT(job.n_steps, 0);
    }
  }
}

TEST(ShippedConfigurations, ForRewardModelsOnlyLackTheModel) {
  const Job job =
      prepare_job(config("ppo_reward_model.cfg"), {"model.reward.path="}, 2, DataCheck::kRead);
  EXPECT_TRUE(job.architectures.at("reward").value_head);
}

/// What prepare_job says of a shipped configuration with these settings.
std::string refusal(const std::string& name, const std::vector<std::string>& sets) {
  try {
    prepare_job(config(name), sets, 4, DataCheck::kLeaveOut);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "it was accepted";
}

TEST(Job, NamesAModelThatAnInterfaceCannotUse) {
  EXPECT_NE(refusal("ppo_tiny.cfg", {"model.critic.head=language"}).find("model.critic.head"),
            std::string::npos);
  EXPECT_NE(refusal("ppo_tiny.cfg", {"model.actor.head=value"}).find("actor has a value head"),
            std::string::npos);
}

TEST(Job, NamesAVocabularyThatLacksTokens) {
  const std::string text = refusal("ppo_tiny.cfg", {"model.critic.vocab_size=100"});
  EXPECT_NE(text.find("model.critic.vocab_size"), std::string::npos) << text;
  EXPECT_NE(text.find("259 tokens"), std::string::npos) << text;
}

TEST(Job, LetsAJudgeHaveATokenizerOfItsOwnAndNobodyElse) {
  const TemporaryFolder folder;
  std::filesystem::copy(ORRERY_SOURCE_DIR "/tests/fixtures/tokenizer/tokenizer.json",
                        folder / "tokenizer.json");
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<|eos|>"})";
  const std::string other = folder.path().string();
  const Job job = prepare_job(config("grpo_judge_tiny.cfg"),
                              {"model.judge.tokenizer=" + other, "model.judge.vocab_size=2000"}, 2,
                              DataCheck::kRead);
  EXPECT_EQ(job.tokenizer(), "byte") << "that of the data";

  const std::string text =
      refusal("ppo_tiny.cfg", {"model.actor.tokenizer=byte", "model.ref.tokenizer=byte",
                               "model.critic.tokenizer=" + other, "model.critic.vocab_size=2000"});
  EXPECT_NE(text.find("must have one tokenizer"), std::string::npos) << text;
}

TEST(Job, NamesAJudgeThatCannotGiveARewardBeforeTheRun) {
  EXPECT_NE(refusal("grpo_judge_tiny.cfg", {"call.reward.template={prompt}"}).find("{response}"),
            std::string::npos);
  EXPECT_NE(refusal("grpo_judge_tiny.cfg", {"call.reward.verdict=[0-9]"}).find("no group"),
            std::string::npos);
  EXPECT_NE(
      refusal("grpo_judge_tiny.cfg", {"call.reward.verdict=([0-9]"}).find("no regular expression"),
      std::string::npos);
  EXPECT_NE(refusal("grpo_judge_tiny.cfg", {"model.judge.head=value"}).find("value head"),
            std::string::npos);
}

TEST(Job, NamesALayoutThatAModelCannotTake) {
  const std::string text = refusal("ppo_tiny.cfg", {"call.actor_train.layout=d1t4p1@0-3"});
  EXPECT_NE(text.find("call.actor_train.layout"), std::string::npos) << text;
  EXPECT_NE(text.find("heads"), std::string::npos) << text;
}

TEST(Job, NamesRolesBetweenWhichNoParametersCanGo) {
  const std::string text =
      refusal("ppo_tiny.cfg", {"call.actor_train.post_realloc=ref", "model.ref.hidden_size=64"});
  EXPECT_NE(text.find("call.actor_train.post_realloc"), std::string::npos) << text;
}

TEST(Job, NamesAnEvaluationThatNoCallCanDo) {
  const std::string text =
      refusal("dpo_tiny.cfg", {"dataset.eval.path=" + config("data/tiny.jsonl"),
                               "dataset.eval.kind=prompts", "evaluate.dataset=eval"});
  EXPECT_NE(text.find("evaluate.dataset"), std::string::npos) << text;
}

TEST(ShippedConfigurations, OfTheMainJobsSecondHalfOnlyLackTheModelOfTheFirst) {
  const Job job =
      prepare_job(config("grpo_arithmetic.cfg"), {"model.actor.path="}, 2, DataCheck::kRead);
  EXPECT_EQ(job.graph.size(), 3);
}

TEST(Job, IsTheSameAfterItsJourneyToAnotherRank) {
  const Job job = prepare_job(config("grpo_tiny.cfg"), {}, 2, DataCheck::kRead);

  const Job arrived = unpack_job(pack_job(job));

  EXPECT_EQ(pack_job(arrived), pack_job(job));
  EXPECT_EQ(arrived.graph.size(), job.graph.size());
  EXPECT_EQ(arrived.indices, job.indices);
}

}  // namespace
}  // namespace orrery::cli
