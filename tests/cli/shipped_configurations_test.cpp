#include <gtest/gtest.h>

#include "job.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::cli {
namespace {

std::string config(const std::string& name) {
  return base::concat(ORRERY_SOURCE_DIR, "/configs/", name);
}

TEST(ShippedConfigurations, PassEveryCheck) {
  for (const char* name : {"grpo_tiny.cfg", "sft_arithmetic.cfg"}) {
    SCOPED_TRACE(name);
    const Job job = prepare_job(config(name), {}, 2, DataCheck::kRead);
    EXPECT_GT(job.n_steps, 0);
  }
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

TEST(Job, RefusesWhatThisVersionCannotDoByName) {
  const std::vector<std::string> sets[] = {
      {"checkpoint.every_steps=5"},  // no checkpoints yet
  };
  for (const std::vector<std::string>& set : sets) {
    SCOPED_TRACE(set.front());
    EXPECT_THROW(prepare_job(config("grpo_tiny.cfg"), set, 2, DataCheck::kRead), ConfigError);
  }
}

}  // namespace
}  // namespace orrery::cli
