// What a run that goes on makes of changed keys.
#include "resume_rules.h"

#include <gtest/gtest.h>

#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"

namespace orrery::cli {
namespace {

using config::Resume;

std::string config_with(const std::string& section, const std::string& line) {
  return "[" + section + "]\n" +
         (section.starts_with("call") ? "interface = grpo\n" : "id_field = key\n") + line + "\n";
}

ConfigChanges changes_of(const std::string& section, const std::string& before,
                         const std::string& now, const std::vector<std::string>& accept = {}) {
  return compare_configs(config_with(section, before), config_with(section, now),
                         algorithm::interface_schemas(), accept);
}

Resume meaning_in(const std::string& interface, const std::string& key) {
  return meaning_of_change(key, algorithm::interface_schemas().at(interface));
}

TEST(ResumeRules, SayWhatBecomesOfAKey) {
  EXPECT_EQ(meaning_of_change("experiment.output_dir"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("evaluate.every_steps"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("evaluate.math.samples"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("dataset.train.path"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("call.actor_gen.layout"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("model.actor.recompute_layers"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("model.actor.lr"), Resume::kNoted);
  EXPECT_EQ(meaning_of_change("experiment.total_steps"), Resume::kNoted);
  EXPECT_EQ(meaning_of_change("experiment.amx"), Resume::kNoted);
  EXPECT_EQ(meaning_of_change("model.actor.path"), Resume::kRefused);
  EXPECT_EQ(meaning_of_change("dataset.train.prompt_prefix"), Resume::kRefused);
}

TEST(ResumeRules, LookIntoTheOptionsOfTheInterface) {
  EXPECT_EQ(meaning_in("grpo", "call.train.clip_range"), Resume::kRefused);
  EXPECT_EQ(meaning_in("command_reward", "call.reward.concurrency"), Resume::kFree);
  EXPECT_EQ(meaning_in("command_reward", "call.reward.timeout_seconds"), Resume::kNoted);
  EXPECT_EQ(meaning_in("command_reward", "call.reward.on_failed_answer"), Resume::kRefused);
}

TEST(ResumeRules, SayWhatBecomesOfAKeyOfAnotherVersion) {
  EXPECT_EQ(meaning_of_change("checkpoint.key_of_another_version"), Resume::kFree);
  EXPECT_EQ(meaning_of_change("model.actor.key_of_another_version"), Resume::kRefused);
  EXPECT_EQ(meaning_of_change("a_section_of_another_version.key"), Resume::kNever);
}

/// Architecture, tokenizer, seed, order of the data, graph.
const char* const kNever[] = {"experiment.seed",           "dataset.train.kind",
                              "dataset.train.weight",      "model.actor.architecture",
                              "model.actor.head",          "model.actor.tokenizer",
                              "model.actor.dtype",         "model.actor.vocab_size",
                              "model.actor.hidden_size",   "model.actor.intermediate_size",
                              "model.actor.n_layers",      "model.actor.n_heads",
                              "model.actor.n_kv_heads",    "model.actor.head_dim",
                              "model.actor.max_positions", "model.actor.rope_theta",
                              "model.actor.norm_eps",      "model.actor.tie_embeddings",
                              "call.train.model",          "call.train.kind",
                              "call.train.interface",      "call.train.inputs",
                              "call.train.outputs",        "call.train.n_seqs",
                              "call.train.enabled",        "call.train.post_realloc"};

TEST(ResumeRules, NeverAcceptAnotherExperiment) {
  for (const std::string key : kNever) {
    const std::string section = key.substr(0, key.rfind('.'));
    const std::string name = key.substr(key.rfind('.') + 1);

    const ConfigChanges changes = changes_of(section, name + " = 1", name + " = 2");

    EXPECT_EQ(changes.never, std::vector<std::string>{key + ": was 1, is 2"}) << key;
    EXPECT_THROW(changes_of(section, name + " = 1", name + " = 2", {key}), ConfigError) << key;
  }
}

TEST(ResumeRules, AcceptWhatIsNamed) {
  const std::string key = "call.train.clip_range";

  const ConfigChanges refused = changes_of("call.train", "clip_range = 0.2", "clip_range = 0.3");
  const ConfigChanges accepted =
      changes_of("call.train", "clip_range = 0.2", "clip_range = 0.3", {key});
  const ConfigChanges same =
      changes_of("call.train", "clip_range = 0.3", "clip_range = 0.3", {key});

  EXPECT_EQ(refused.refused, std::vector<std::string>{key + ": was 0.2, is 0.3"});
  EXPECT_EQ(accepted.accepted, refused.refused);
  EXPECT_TRUE(accepted.refused.empty());
  EXPECT_TRUE(same.accepted.empty());
  EXPECT_THROW(
      changes_of("call.train", "clip_range = 0.3", "clip_range = 0.3", {"call.train.clip"}),
      ConfigError);
}

TEST(ResumeRules, TakeTheDefaultForAKeyThatAnEarlierVersionDidNotHave) {
  EXPECT_TRUE(changes_of("call.train", "", "clip_range = 0.2").refused.empty());
  EXPECT_TRUE(changes_of("model.actor", "", "recompute_layers = auto").refused.empty());
  EXPECT_TRUE(changes_of("dataset.train", "", "system_field = system").refused.empty());
  EXPECT_EQ(changes_of("call.train", "", "clip_range = 0.5").refused,
            std::vector<std::string>{"call.train.clip_range: was 0.2, is 0.5"});
}

TEST(ResumeRules, LetTheGraphsOfTheVersionBeforeGoOnWithoutPromptTexts) {
  EXPECT_TRUE(changes_of("call.reward", "inputs = packed_input_ids, answers",
                         "inputs = packed_input_ids, answers, prompt_texts")
                  .never.empty());
  EXPECT_FALSE(changes_of("call.reward", "inputs = packed_input_ids, answers",
                          "inputs = packed_input_ids, answers, fields")
                   .never.empty());
}

}  // namespace
}  // namespace orrery::cli
