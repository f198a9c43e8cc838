// What a resumed run makes of keys that changed, or that an older version did not have.
#include <gtest/gtest.h>

#include "job.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "resume_rules.h"

namespace orrery::cli {
namespace {

std::string resolved(const std::vector<std::string>& sets) {
  return config::resolved_config(
      prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 1, DataCheck::kLeaveOut)
          .experiment,
      algorithm::interface_schemas());
}

/// Without the lines of these keys, as a version wrote it that did not have them.
std::string without(const std::string& text, const std::vector<std::string>& keys) {
  std::vector<std::string> kept;
  for (const std::string& line : base::split(text, '\n')) {
    const bool goes = std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
      return line.starts_with(key + " =");
    });
    if (!goes) kept.push_back(line);
  }
  return base::join(kept, "\n");
}

TEST(ResumeKeys, OfPagesSayWhereARunComputesAndNotWhat) {
  const ConfigChanges changes =
      compare_configs(resolved({}), resolved({"call.actor_gen.max_cache_tokens=4096"}),
                      algorithm::interface_schemas());

  EXPECT_EQ(changes.refused, std::vector<std::string>{});
  EXPECT_EQ(changes.noted, std::vector<std::string>{});
}

TEST(ResumeKeys, ThatDidNotExistMeanTheirDefault) {
  const std::string now = resolved({});
  const std::string before =
      without(now, {"use", "add_bos", "top_k", "max_reward_clip", "recompute_layers", "seed"});
  ASSERT_NE(before, now);

  const ConfigChanges changes = compare_configs(before, now, algorithm::interface_schemas());

  EXPECT_EQ(changes.refused, std::vector<std::string>{});
  EXPECT_EQ(changes.noted, std::vector<std::string>{});
}

TEST(ResumeKeys, ThatDidNotExistAndHaveAnotherValueAreAChange) {
  const std::string before = without(resolved({}), {"add_bos", "top_k"});

  const ConfigChanges changes =
      compare_configs(before, resolved({"dataset.train.add_bos=true", "call.actor_gen.top_k=3"}),
                      algorithm::interface_schemas());

  ASSERT_EQ(changes.refused.size(), 2u);
  EXPECT_EQ(changes.refused[0], "call.actor_gen.top_k: was 0, is 3");
  EXPECT_EQ(changes.refused[1], "dataset.train.add_bos: was false, is true");
}

TEST(ResumeKeys, OfASectionThatIsNewAreNoDefaults) {
  const std::string now = resolved({"model.extra.architecture=none"});

  const ConfigChanges changes = compare_configs(resolved({}), now, algorithm::interface_schemas());

  EXPECT_FALSE(changes.never.empty());
}

TEST(ResumeKeys, BoundsOfRecordsMayChangeAndAreNoted) {
  const std::string before = resolved({});
  const std::string now =
      resolved({"dataset.train.max_prompt_tokens=15", "dataset.train.on_bad_record=skip"});

  const ConfigChanges changes = compare_configs(before, now, algorithm::interface_schemas());

  EXPECT_TRUE(changes.refused.empty());
  ASSERT_EQ(changes.noted.size(), 2u);
  EXPECT_EQ(changes.noted[0], "dataset.train.max_prompt_tokens: was 1024, is 15");
  EXPECT_EQ(datasets_with_other_bounds(before, now), std::vector<std::string>{"train"});
  EXPECT_TRUE(datasets_with_other_bounds(before, before).empty());
}

}  // namespace
}  // namespace orrery::cli
