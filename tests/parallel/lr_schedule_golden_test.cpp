// Golden lr_schedule.json. What we do otherwise: the n-th
// optimizer step uses the rate of step n; the decay ends with the last step, not `warmup` steps
// before it; weight decay does not change over time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/parallel/lr_schedule.h"

namespace orrery::parallel {
namespace {

LrScheduleOptions options_of(const nlohmann::json& o) {
  return {.init_lr = o.at("init_lr"),
          .max_lr = o.at("max_lr"),
          .min_lr = o.at("min_lr"),
          .warmup_steps = o.at("lr_warmup_steps"),
          .decay_steps = o.at("lr_decay_steps"),
          .style = decay_style_named(o.at("lr_decay_style").get<std::string>())};
}

/// The files ask for rtol 1e-12; where a decay ends at 0 it is one of the highest rate.
golden::Tolerance tolerance_of(const nlohmann::json& options) {
  return {.relative = 1e-12, .absolute = 1e-15 * std::abs(options.at("max_lr").get<double>())};
}

TEST(LrScheduleGolden, Scheduler) {
  golden::for_each_case("lr_schedule.json", "scheduler", [](const golden::Case& c) {
    const std::vector<int64_t> steps = golden::integers(c["steps"]);
    std::vector<double> rates;
    for (const int64_t step : steps) rates.push_back(learning_rate(options_of(c["options"]), step));

    golden::expect_close(rates, c.expect().at("lr"), "rate", tolerance_of(c["options"]));
  });
}

/// Number that the reference's schedule is asked for at an optimizer step: it is set after the
/// update to that of the train step which just ran.
int64_t reference_schedule_step(int64_t train_step, int64_t minibatch) {
  return minibatch == 0 ? std::max<int64_t>(train_step - 1, 0) : train_step;
}

TEST(LrScheduleGolden, AsBuiltByBackend) {
  golden::for_each_case("lr_schedule.json", "as_built_by_backend", [](const golden::Case& c) {
    const LrScheduleOptions reference = options_of(c["scheduler_options"]);
    const golden::Tolerance tolerance = tolerance_of(c["scheduler_options"]);
    const int64_t total = c["total_train_steps"];
    const int64_t per_step = c["optimizer_steps_per_train_step"];
    const double proportion = c["warmup_steps_proportion"];
    const auto warmup = static_cast<int64_t>(std::floor(proportion * static_cast<double>(total)));

    EXPECT_EQ(reference.warmup_steps, warmup);
    EXPECT_EQ(reference.decay_steps, total - warmup);
    EXPECT_DOUBLE_EQ(reference.min_lr, c["lr"].get<double>() * c["min_lr_ratio"].get<double>());

    // The same function at the reference's step numbers gives its rates.
    std::vector<double> used;
    for (int64_t i = 0; i < static_cast<int64_t>(c.expect().at("lr_used").size()); ++i) {
      used.push_back(learning_rate(reference, reference_schedule_step(i / per_step, i % per_step)));
    }
    golden::expect_close(used, c.expect().at("lr_used"), "rate", tolerance);

    // Ours: as many different rates as optimizer steps, the lowest one at the last.
    LrScheduleOptions ours = reference;
    ours.warmup_steps = warmup * per_step;
    ours.decay_steps = total * per_step;
    if (ours.style == DecayStyle::kConstant) return;
    golden::expect_close(learning_rate(ours, ours.decay_steps), reference.min_lr, "the last rate",
                         tolerance);
    EXPECT_GT(learning_rate(ours, ours.decay_steps - 1), reference.min_lr);
    if (warmup > 0) {
      EXPECT_GT(learning_rate(ours, 1), learning_rate(ours, 0));
    }
  });
}

TEST(RateOfUpdate, ReachesThePeakAndEndsAtTheLeastRate) {
  for (const int64_t warmup : {0, 1, 3}) {
    for (const int64_t total : {1, 2, 5, 40}) {
      if (warmup >= total) continue;
      for (const DecayStyle style : {DecayStyle::kLinear, DecayStyle::kCosine}) {
        SCOPED_TRACE(testing::Message() << warmup << " of " << total);
        const LrScheduleOptions options{.max_lr = 2e-3,
                                        .min_lr = 5e-4,
                                        .warmup_steps = warmup,
                                        .decay_steps = total,
                                        .style = style};
        double highest = 0;
        for (int64_t i = 0; i < total; ++i) {
          EXPECT_GT(rate_of_update(options, i), 0) << i;
          highest = std::max(highest, rate_of_update(options, i));
        }
        EXPECT_DOUBLE_EQ(highest, 2e-3);
        EXPECT_DOUBLE_EQ(rate_of_update(options, std::max<int64_t>(warmup - 1, 0)), 2e-3);
        if (total > std::max<int64_t>(warmup, 1)) {
          EXPECT_DOUBLE_EQ(rate_of_update(options, total - 1), 5e-4);
        }
      }
    }
  }
}

TEST(LearningRate, RefusesSchedulesThatCannotBe) {
  EXPECT_THROW(decay_style_named("poly"), ConfigError);
  EXPECT_THROW(learning_rate({.max_lr = 1, .min_lr = -1}, 0), ConfigError);
  EXPECT_THROW(learning_rate({.warmup_steps = -1}, 0), ConfigError);
  EXPECT_THROW(learning_rate({.warmup_steps = 5, .decay_steps = 5}, 0), ConfigError);
}

}  // namespace
}  // namespace orrery::parallel
