#include "orrery/worker/hosted_models.h"

#include <gtest/gtest.h>

#include "orrery/parallel/lr_schedule.h"

namespace orrery::worker {
namespace {

TEST(OptimizerOptions, AreThoseOfTheSection) {
  config::ModelConfig model;
  model.lr = 2e-3;
  model.lr_schedule = "linear";
  model.min_lr_ratio = 0.1;
  model.warmup_proportion = 0.2;
  model.balance_coefficient = 0.01;

  const parallel::OptimizerOptions options = optimizer_options(model, 20);

  EXPECT_EQ(options.balance_coefficient, 0.01);
  EXPECT_GT(parallel::rate_of_update(options.schedule, 0), 0);
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 3), 2e-3);  // the last of the warm-up
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 19), 2e-4);
}

TEST(AmxOf, IsWhatTheExperimentSays) {
  config::ExperimentSection experiment;
  EXPECT_EQ(amx_of(experiment), kernels::Amx::kAuto);

  experiment.amx = "off";
  EXPECT_EQ(amx_of(experiment), kernels::Amx::kOff);
}

TEST(OptimizerOptions, AWarmUpAsLongAsTheRunIsPossible) {
  config::ModelConfig model;
  model.warmup_steps = 5;
  model.lr_schedule = "cosine";

  const parallel::OptimizerOptions options = optimizer_options(model, 5);

  EXPECT_GT(parallel::rate_of_update(options.schedule, 0), 0);
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 4), model.lr);
}

}  // namespace
}  // namespace orrery::worker
