// However a minibatch is spread over data ranks and cut into micro-batches, the step is the same.
#include "orrery/parallel/train_engine.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <mutex>
#include <numeric>

#include "orrery/base/error.h"
#include "support/thread_communicator.h"
#include "training_for_test.h"

namespace orrery::parallel {
namespace {

// Sums of some hundred products in another order; gradients and parameters are of the order of 1.
constexpr double kFp64 = 1e-9;

const std::vector<int32_t> kLengths = {9, 3, 17, 2, 24, 5, 8, 1, 30, 4, 6};

struct Outcome {
  metrics::Statistics statistics;  // merged over ranks and steps
  at::Tensor gradients;            // of the first step, summed over ranks
  at::Tensor parameters;
};

struct Spread {
  std::vector<std::vector<int>> samples;  // of each data rank
  std::vector<MicroBatchLimits> limits;   // of each data rank
};

Outcome train(const Spread& spread, int n_steps = 3) {
  const data::SequenceBatch batch = random_batch(kLengths);
  Outcome outcome;
  std::mutex mutex;
  comm::run_as_threads(static_cast<int>(spread.samples.size()), [&](comm::Communicator& group) {
    const auto rank = static_cast<size_t>(group.rank());
    model::Decoder decoder = small_decoder();
    TrainEngine engine(decoder, plain_optimizer(), group);
    const data::SequenceBatch own = batch.select_samples(spread.samples[rank]);
    metrics::Statistics statistics;
    at::Tensor gradients;
    for (int i = 0; i < n_steps; ++i) {
      statistics.merge(engine.step(own, 0.7, weight_of(own), weighted_loss, spread.limits[rank]));
      // Later ones belong to other parameters: Adam enlarges the rounding of small gradients.
      if (i > 0) continue;
      gradients = decoder.parameters().gradients().clone();
      group.all_reduce(gradients, comm::ReduceOp::kSum);  // the engine leaves each rank its own
    }
    const std::lock_guard lock(mutex);
    outcome.statistics.merge(statistics);
    if (rank == 0) {
      outcome.gradients = gradients;
      outcome.parameters = decoder.parameters().values().clone();
    } else if (outcome.parameters.defined()) {
      EXPECT_TRUE(at::equal(outcome.parameters, decoder.parameters().values()));
    }
  });
  return outcome;
}

const Outcome& single_worker() {
  static const Outcome outcome = [] {
    std::vector<int> all(kLengths.size());
    std::iota(all.begin(), all.end(), 0);
    return train({.samples = {all}, .limits = {{}}});
  }();
  return outcome;
}

void expect_like_single_worker(const Outcome& got) {
  const Outcome& expected = single_worker();
  EXPECT_GT(expected.gradients.abs().max().item<double>(), 1e-2);
  EXPECT_LT(max_difference(got.gradients, expected.gradients), kFp64);
  EXPECT_LT(max_difference(got.parameters, expected.parameters), kFp64);
  const auto values = got.statistics.values();
  const auto single = expected.statistics.values();
  ASSERT_EQ(values.size(), single.size());
  for (const auto& [name, value] : single) EXPECT_NEAR(values.at(name), value, kFp64) << name;
}

TEST(TrainEngine, DoesNotDependOnTheDataRanks) {
  const std::vector<Spread> spreads = {
      {.samples = {{0, 2, 4, 6, 8, 10}, {1, 3, 5, 7, 9}}, .limits = {{}, {}}},
      {.samples = {{8}, {0, 1, 2, 3, 4, 5, 6, 7, 9, 10}}, .limits = {{}, {}}},
      {.samples = {{7}, {10, 9, 8, 6, 5, 4}, {0, 1, 2, 3}}, .limits = {{}, {}, {}}},
      {.samples = {{}, {0, 1, 2, 3, 4, 5}, {6, 7}, {8, 9, 10}}, .limits = {{}, {}, {}, {}}}};
  for (const Spread& spread : spreads) {
    SCOPED_TRACE(spread.samples.size());
    expect_like_single_worker(train(spread));
  }
}

TEST(TrainEngine, DoesNotDependOnTheMicroBatches) {
  std::vector<int> all(kLengths.size());
  std::iota(all.begin(), all.end(), 0);
  for (const MicroBatchLimits limits :
       {MicroBatchLimits{.max_tokens = 30}, MicroBatchLimits{.max_tokens = 1},
        MicroBatchLimits{.max_tokens = 64, .min_parts = 4}, MicroBatchLimits{.min_parts = 50}}) {
    SCOPED_TRACE(limits.max_tokens);
    expect_like_single_worker(train({.samples = {all}, .limits = {limits}}));
  }
}

TEST(TrainEngine, RanksMayHaveDifferentNumbersOfMicroBatches) {
  expect_like_single_worker(
      train({.samples = {{0, 1, 2, 3, 4, 5, 6, 7}, {8}, {9, 10}},
             .limits = {{.max_tokens = 10}, {}, {.max_tokens = 0, .min_parts = 2}}}));
}

TEST(MicroBatches, HoldEverySampleOnceWithinTheBudget) {
  const data::SequenceBatch batch = random_batch(kLengths);

  const auto parts = micro_batches(batch, {.max_tokens = 32});

  std::vector<uint64_t> ids;
  for (const data::SequenceBatch& part : parts) {
    EXPECT_LE(part.meta.at("packed_input_ids").lengths.grand_total(), 32);
    for (const data::SampleId id : part.meta.ids) ids.push_back(id.value);
  }
  std::sort(ids.begin(), ids.end());
  std::vector<uint64_t> all(kLengths.size());
  std::iota(all.begin(), all.end(), uint64_t{0});
  EXPECT_EQ(ids, all);
  EXPECT_TRUE(micro_batches(batch.select_samples(std::vector<int>{}), {}).empty());
}

TEST(TrainEngine, SkipsAndCountsAStepWithoutWeight) {
  comm::run_as_threads(2, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    const at::Tensor before = decoder.parameters().values().clone();
    TrainEngine engine(decoder, plain_optimizer(), group);
    data::SequenceBatch batch = random_batch({5, 6});
    batch.data["weights"].zero_();

    const metrics::Statistics statistics = engine.step(batch, 1, 0, weighted_loss, {});

    EXPECT_TRUE(at::equal(decoder.parameters().values(), before));
    EXPECT_EQ(engine.steps_done(), 0);
    EXPECT_EQ(statistics.value("skipped_steps"),
              group.rank() == 0 ? std::optional(1.0) : std::nullopt);
    EXPECT_EQ(statistics.value("loss"), std::nullopt);
  });
}

/// Trains one good step, then one in which `poison` spoils rank 1's loss, then a good one.
template <class Poison>
void expect_poison_is_skipped(const Poison& poison) {
  comm::run_as_threads(2, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    TrainEngine engine(decoder, plain_optimizer(), group);
    const data::SequenceBatch batch = random_batch({5, 6, 7});
    const double weight = weight_of(batch);
    engine.step(batch, 1, weight, weighted_loss, {});
    const at::Tensor before = decoder.parameters().values().clone();
    const at::Tensor moment = engine.optimizer().second_moment().clone();

    const metrics::Statistics bad =
        engine.step(batch, 1, weight,
                    [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
                      LossResult result = weighted_loss(log_probs, part);
                      if (group.rank() == 1) result.loss_sum = poison(log_probs, result.loss_sum);
                      return result;
                    },
                    {});

    EXPECT_TRUE(at::equal(decoder.parameters().values(), before));
    EXPECT_TRUE(at::equal(engine.optimizer().second_moment(), moment));
    EXPECT_EQ(engine.steps_done(), 1);
    EXPECT_EQ(bad.value("skipped_steps"), group.rank() == 0 ? std::optional(1.0) : std::nullopt);

    engine.step(batch, 1, weight, weighted_loss, {});

    EXPECT_EQ(engine.steps_done(), 2);
    EXPECT_TRUE(at::isfinite(decoder.parameters().values()).all().item<bool>());
    EXPECT_FALSE(at::equal(decoder.parameters().values(), before));
  });
}

TEST(TrainEngine, SkipsALossOfNanOrInfinityOfOneRankOnAllRanks) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    expect_poison_is_skipped([&](const at::Tensor&, const at::Tensor& loss) { return loss + bad; });
  }
}

TEST(TrainEngine, SkipsAGradientOfNanThoughTheLossIsFinite) {
  // sqrt has a finite value and an infinite slope at 0, which times 0 gives NaN.
  expect_poison_is_skipped([](const at::Tensor& log_probs, const at::Tensor& loss) {
    return loss + (log_probs * 0).sum().sqrt();
  });
}

TEST(TrainEngine, StopsOnAllRanksWhenToldTo) {
  comm::run_as_threads(2, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    const at::Tensor before = decoder.parameters().values().clone();
    OptimizerOptions options = plain_optimizer();
    options.on_nonfinite = OnNonfinite::kStop;
    TrainEngine engine(decoder, options, group);
    const data::SequenceBatch batch = random_batch({5, 6, 7});
    std::string text;

    try {
      engine.step(batch, 1, weight_of(batch),
                  [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
                    LossResult result = weighted_loss(log_probs, part);
                    if (group.rank() == 0) result.loss_sum = result.loss_sum / 0;
                    return result;
                  },
                  {});
    } catch (const CallError& error) {
      text = error.what();
    }

    EXPECT_NE(text.find("optimizer step 1: the loss is not finite"), std::string::npos) << text;
    EXPECT_TRUE(at::equal(decoder.parameters().values(), before));
  });
  EXPECT_EQ(on_nonfinite_named("skip"), OnNonfinite::kSkip);
  EXPECT_THROW(on_nonfinite_named("ignore"), ConfigError);
}

TEST(TrainEngine, EndsTheJobAfterSoManySkippedUpdatesInARow) {
  comm::run_as_threads(2, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    OptimizerOptions options = plain_optimizer();
    options.max_skipped_updates = 3;
    TrainEngine engine(decoder, options, group);
    const data::SequenceBatch batch = random_batch({5, 6, 7});
    const auto step = [&](double factor) {
      return engine.step(batch, 1, weight_of(batch),
                         [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
                           LossResult result = weighted_loss(log_probs, part);
                           if (group.rank() == 0) result.loss_sum = result.loss_sum * factor;
                           return result;
                         },
                         {});
    };
    const double infinite = std::numeric_limits<double>::infinity();
    step(infinite);
    step(infinite);
    step(1);  // the row is broken
    step(infinite);
    const metrics::Statistics second = step(infinite);
    if (group.rank() == 0) {
      EXPECT_EQ(second.value("nonfinite_steps"), 1.0);
    }
    EXPECT_EQ(engine.step(batch, 1, 0, weighted_loss, {}).value("nonfinite_steps").value_or(0), 0)
        << "no weight is another reason, and does not count";
    std::string text;
    try {
      step(infinite);
    } catch (const CallError& error) {
      text = error.what();
    }
    EXPECT_NE(text.find("3 updates in a row were skipped"), std::string::npos) << text;
    EXPECT_NE(text.find("the loss is not finite"), std::string::npos) << text;
  });
}

/// Statistics of one step whose watched number has the mean 2 over both ranks, 1 on one of them.
metrics::Statistics watched_step(double ceiling) {
  metrics::Statistics all;
  std::mutex mutex;
  comm::run_as_threads(2, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    TrainEngine engine(decoder, plain_optimizer(), group);
    const at::Tensor before = decoder.parameters().values().clone();
    const data::SequenceBatch batch = random_batch({5, 6, 7});
    const std::vector<double> ceilings = {1e9, ceiling};

    const metrics::Statistics statistics = engine.step(
        batch, 1, weight_of(batch),
        [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
          LossResult result = weighted_loss(log_probs, part);
          result.watched = {0, weight_of(part) * (group.rank() == 0 ? 1 : 3)};
          return result;
        },
        {.min_parts = 2}, ceilings);

    EXPECT_EQ(at::equal(decoder.parameters().values(), before), ceiling < 2);
    const std::lock_guard lock(mutex);
    all.merge(statistics);
  });
  return all;
}

TEST(TrainEngine, StopsEarlyByTheMeanOverAllRanks) {
  EXPECT_EQ(watched_step(1.9).value("early_stopped_steps"), 1);
  EXPECT_EQ(watched_step(1.9).value("skipped_steps"), 0);
  EXPECT_EQ(watched_step(2.1).value("early_stopped_steps"), 0);
}

TEST(TrainEngine, RefusesAScheduleThatCannotBe) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder();
    OptimizerOptions options = plain_optimizer();
    options.schedule.min_lr = 1;

    EXPECT_THROW(TrainEngine(decoder, options, group), ConfigError);
  });
}

}  // namespace
}  // namespace orrery::parallel
