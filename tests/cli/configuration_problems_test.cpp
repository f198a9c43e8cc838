// What a user is told about a configuration by all checks together: each fault once.
#include <gtest/gtest.h>

#include "job.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::cli {
namespace {

/// The lines that follow the heading of the report, or none.
std::vector<std::string> problems(const std::vector<std::string>& sets) {
  try {
    prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kLeaveOut);
  } catch (const ConfigError& error) {
    std::vector<std::string> lines = base::split(error.what(), '\n');
    lines.erase(lines.begin());
    return lines;
  }
  return {};
}

TEST(ConfigurationProblems, AMissingModelIsReportedOnce) {
  EXPECT_EQ(
      problems({"model.actor.path=/nowhere"}),
      (std::vector<std::string>{"  --set model.actor.path=/nowhere: model.actor.path: no such "
                                "file or folder: /nowhere"}));
}

TEST(ConfigurationProblems, AWrongKindIsReportedOnce) {
  EXPECT_EQ(problems({"call.actor_train.kind=trainstep"}),
            (std::vector<std::string>{
                "  --set call.actor_train.kind=trainstep: call.actor_train.kind: must be one of "
                "generate, inference, train_step, got 'trainstep'; did you mean train_step?"}));
}

TEST(ConfigurationProblems, OfAllChecksAreReportedTogether) {
  const std::vector<std::string> found =
      problems({"model.actor.lr=2", "call.actor_gen.layout=d2@0-5", "model.actor.n_heads=3"});

  const std::string all = base::join(found, "\n");
  EXPECT_NE(all.find("model.actor.lr: must be 0 to 1"), std::string::npos) << all;
  EXPECT_NE(all.find("call.actor_gen.layout: "), std::string::npos) << all;
}

TEST(ConfigurationProblems, AnOptionOfAnInterfaceIsCheckedBeforeTheRun) {
  const std::vector<std::string> found = problems({"call.actor_gen.max_new_token=4"});

  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("unknown key call.actor_gen.max_new_token of interface generate; did you "
                          "mean max_new_tokens?"),
            std::string::npos)
      << found[0];
}

TEST(ConfigurationProblems, MoreLayersToRecomputeThanAStageHas) {
  const auto found = [](const std::vector<std::string>& sets) {
    return base::join(problems(sets), "\n");
  };
  EXPECT_EQ(found({"model.actor.recompute_layers=2"}), "");
  EXPECT_EQ(found({"model.actor.moments_dtype=bf16", "model.actor.gradient_dtype=bf16"}), "");
  EXPECT_NE(found({"model.actor.gradient_dtype=bf16", "model.actor.dtype=fp64"})
                .find("model.actor.gradient_dtype: bf16 goes with dtype = fp32 or bf16"),
            std::string::npos);
  EXPECT_NE(found({"model.actor.moments_dtype=bf16", "model.actor.dtype=fp64"})
                .find("model.actor.moments_dtype: bf16 goes with dtype = fp32 or bf16"),
            std::string::npos);
  EXPECT_NE(found({"model.actor.recompute_layers=3"})
                .find("model.actor.recompute_layers: must be at most 2, got 3: the model has 2 "
                      "layers; `all` is all of them in every layout"),
            std::string::npos);
  const std::string in_stages = found({"model.actor.recompute_layers=2", "layout.default=p2@0-1"});
  EXPECT_NE(in_stages.find("must be at most 1, got 2: the model has 2 layers, and in layout "
                           "d1t1p2@0-1 a stage has 1"),
            std::string::npos)
      << in_stages;
  EXPECT_NE(found({"model.actor.recompute_layers=-1"}).find("must be a number from 0 on"),
            std::string::npos);
}

TEST(SharedOptions, AreInheritedRefusedOrWarnedAboutBeforeARun) {
  const auto job = [](std::vector<std::string> sets) {
    return prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kLeaveOut);
  };
  const std::string gen = "call.actor_gen.temperature=0.6";
  const std::string train = "call.actor_train.temperature=1";

  const std::string resolved =
      config::resolved_config(job({gen}).experiment, algorithm::interface_schemas());
  const size_t section = resolved.find("[call.actor_train]");
  EXPECT_NE(resolved.find("temperature = 0.6", section), std::string::npos) << resolved;

  const std::string refused = base::join(problems({gen, train}), "\n");
  EXPECT_NE(refused.find("--set " + gen), std::string::npos) << refused;
  EXPECT_NE(refused.find("--set " + train), std::string::npos) << refused;

  const Job corrected = job({gen, train, "call.actor_train.recompute_log_probs=true"});
  ASSERT_FALSE(corrected.warnings.empty());
  EXPECT_NE(corrected.warnings[0].text.find("corrects for the difference"), std::string::npos);

  const std::string alone = base::join(problems({"call.actor_gen.group_size=1"}), "\n");
  EXPECT_NE(alone.find("call.actor_gen.group_size = 1"), std::string::npos) << alone;
  EXPECT_NE(alone.find("group_adv_norm"), std::string::npos) << alone;
}

TEST(Teachers, OfAnotherVocabularyAreNamed) {
  const auto warnings = [](std::vector<std::string> sets) {
    std::string all;
    for (const config::Problem& each :
         prepare_job(ORRERY_SOURCE_DIR "/configs/distill_tiny.cfg", sets, 2, DataCheck::kLeaveOut)
             .warnings) {
      all += each.text + "\n";
    }
    return all;
  };
  const std::string said =
      "call.distill.model: role actor has a vocabulary of 259, but its "
      "teacher teacher one of 300";
  EXPECT_NE(warnings({"model.teacher.vocab_size=300"}).find(said), std::string::npos);
  EXPECT_EQ(warnings({}).find("vocabulary"), std::string::npos);
}

TEST(GrpoGraph, TheReferenceCanBeSwitchedOnAsItsCommentSays) {
  const std::vector<std::string> sets = {
      "call.ref_inf.enabled=true",
      "call.ref_inf.n_seqs=8",
      "model.ref.n_layers=2",
      "model.ref.hidden_size=32",
      "model.ref.intermediate_size=64",
      "model.ref.n_heads=2",
      "model.ref.n_kv_heads=1",
      "model.ref.max_positions=64",
      "call.actor_train.kl_coef=0.1",
      "call.actor_train.inputs=packed_input_ids, prompt_mask, packed_logprobs, rewards, "
      "seq_no_eos_mask, packed_ref_logprobs"};

  const Job job =
      prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kLeaveOut);

  EXPECT_EQ(job.graph.size(), 4);
}

TEST(ConfigurationProblems, CountsThatTogetherAreTooMany) {
  const auto found = [](const std::vector<std::string>& sets) {
    return base::join(problems(sets), "\n");
  };
  EXPECT_NE(found({"call.actor_gen.group_size=900000000"}).find("x group_size (900000000) is more"),
            std::string::npos);
  EXPECT_NE(found({"call.actor_train.n_minibatches=2000", "call.actor_train.ppo_epochs=2000"})
                .find("n_minibatches (2000) x ppo_epochs (2000) is more than 1000000"),
            std::string::npos);
  EXPECT_NE(found({"call.actor_gen.max_new_tokens=1000000000", "call.actor_gen.group_size=10000"})
                .find("x max_new_tokens (1000000000) is more than"),
            std::string::npos);
}

TEST(ConfigurationProblems, AnAnswerMustNotBeLongerThanItMayBe) {
  EXPECT_EQ(problems({"call.actor_gen.min_new_tokens=5", "call.actor_gen.max_new_tokens=4"}),
            (std::vector<std::string>{
                "  --set call.actor_gen.min_new_tokens=5: call.actor_gen.min_new_tokens: is 5, "
                "more than max_new_tokens (4): lower it or raise max_new_tokens"}));
  EXPECT_EQ(problems({"call.actor_gen.min_new_tokens=4", "call.actor_gen.max_new_tokens=4"}).size(),
            0u);
}

TEST(ConfigurationProblems, SizesOfAModelAreBounded) {
  const std::vector<std::string> layers = problems({"model.actor.n_layers=1000000000"});
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_NE(layers[0].find("n_layers is 1000000000, expected at most 10000"), std::string::npos)
      << layers[0];
  const std::vector<std::string> wide =
      problems({"model.actor.hidden_size=1000000000", "model.actor.intermediate_size=1000000000"});
  EXPECT_NE(base::join(wide, "\n").find("parameters, more than any model has"), std::string::npos)
      << base::join(wide, "\n");
}

}  // namespace
}  // namespace orrery::cli
