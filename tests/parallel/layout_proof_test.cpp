// Every layout gives the result of one worker: loss, every gradient, log-probabilities, parameters
// after optimizer steps. Workers are threads; fp64, so that a difference is a fault, not rounding.
// ORRERY_FULL=1 runs all layouts of up to 8 workers, otherwise those of up to 4 and some of 8.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <mutex>

#include "orrery/parallel/gradient_reduction.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"
#include "training_for_test.h"

namespace orrery::parallel {
namespace {

constexpr double kFp64 = 1e-9;

/// What one worker makes of it.
struct Expected {
  model::Decoder decoder;
  at::Tensor log_probs;  // of the batch
  metrics::Statistics statistics;
  std::vector<at::Tensor> gradients;  // by parameter

  explicit Expected(const model::Architecture& a) : decoder(a, at::kDouble) {}
};

const std::vector<int32_t> kLengths = {7, 2, 12, 5, 9, 3, 16, 4, 6};
const MicroBatchLimits kLimits = {.max_tokens = 18};

class EveryLayout : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Proof, EveryLayout,
                         testing::Values("plain", "bias", "qk_norm", "tied", "gemma", "gpt2",
                                         "experts", "gemma3", "olmo2", "smollm3"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_P(EveryLayout, GivesTheLossGradientsLogProbsAndParametersOfOneWorker) {
  const model::Architecture a = four_layers(GetParam());
  const data::SequenceBatch batch = random_batch(kLengths);
  Expected expected(a);
  disturb(expected.decoder.parameters());
  {
    const at::NoGradGuard no_grad;
    expected.log_probs =
        expected.decoder.log_probs(model::pack_tokens(batch.at("packed_input_ids"), kLengths), 0.7);
  }
  auto alone = comm::make_thread_communicators(1, "alone");
  TrainEngine engine(expected.decoder, plain_optimizer(), *alone[0]);
  for (int step = 0; step < 2; ++step) {
    expected.statistics = engine.step(batch, 0.7, weight_of(batch), weighted_loss, kLimits);
  }
  double largest = 0;

  for (const graph::Degrees& degrees : layouts(a)) {
    SCOPED_TRACE(testing::Message()
                 << "d" << degrees.data << "t" << degrees.tensor << "p" << degrees.pipe);
    std::mutex mutex;
    comm::run_as_threads(
        degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
          TestShard shard(a, degrees, all);
          model::Decoder& decoder = *shard.decoder;
          // Samples r, r + D, ...: data ranks with different numbers of micro-batches.
          std::vector<int> mine;
          for (int i = shard.at.data; i < int(kLengths.size()); i += degrees.data)
            mine.push_back(i);
          const data::SequenceBatch own = batch.select_samples(mine);
          const bool is_head = shard.at.pipe == degrees.pipe - 1;

          at::Tensor log_probs;
          {
            const at::NoGradGuard no_grad;
            log_probs =
                decoder.log_probs(model::pack_tokens(batch.at("packed_input_ids"), kLengths), 0.7);
          }
          TrainEngine own_engine(decoder, plain_optimizer(), shard.groups);
          metrics::Statistics statistics;
          for (int step = 0; step < 2; ++step) {
            statistics = own_engine.step(own, 0.7, weight_of(own), weighted_loss, kLimits);
          }

          const std::lock_guard lock(mutex);
          if (is_head) {
            const double difference = max_difference(log_probs, expected.log_probs);
            largest = std::max(largest, difference);
            EXPECT_LT(difference, kFp64) << "log-probabilities";
          }
          if (is_head && shard.at.data == 0) {
            for (const char* name : {"loss", "grad_norm", "n_tokens"}) {
              const double want = *expected.statistics.value(name);
              EXPECT_NEAR(*statistics.value(name), want, kFp64 * std::max(1.0, want)) << name;
            }
          }
          for (const model::ParameterSpec& spec : decoder.parameters().table().parameters) {
            const at::Tensor want =
                part_of(expected.decoder.parameters().leaf(spec.name).detach(), spec);
            const double difference =
                max_difference(decoder.parameters().leaf(spec.name).detach(), want);
            largest = std::max(largest, difference);
            EXPECT_LT(difference, kFp64) << spec.name << " of worker " << all.rank();
          }
        });
  }
  std::printf("%s: %zu layouts, largest difference %.1e\n", GetParam(), layouts(a).size(), largest);
}

/// Loss and all gradients of one step, of every layout beside one worker.
struct Differences {
  double loss = 0, log_probs = 0, gradients = 0;  // the largest, relative to the largest number
  size_t n_layouts = 0;
};

Differences differences_of_a_step(const model::Architecture& a, at::ScalarType dtype) {
  data::SequenceBatch batch = random_batch(kLengths);
  batch.data["weights"] = batch.data["weights"].to(dtype == at::kDouble ? at::kDouble : at::kFloat);
  const model::PackedTokens tokens = model::pack_tokens(batch.at("packed_input_ids"), kLengths);
  const auto log_probs_of = [&](model::Decoder& decoder) {
    const at::NoGradGuard no_grad;
    return decoder.log_probs(tokens);
  };
  model::Decoder whole(a, dtype);
  disturb(whole.parameters());
  const at::Tensor log_probs = log_probs_of(whole);
  auto alone = comm::make_thread_communicators(1, "alone");
  TrainEngine engine(whole, plain_optimizer(), *alone[0]);
  const double loss =
      *engine.step(batch, 1, weight_of(batch), weighted_loss, kLimits).value("loss");
  const double scale = whole.parameters().gradients().abs().max().item<double>();

  Differences largest;
  for (const graph::Degrees& degrees : layouts(a)) {
    ++largest.n_layouts;
    std::mutex mutex;
    comm::run_as_threads(
        degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
          TestShard shard(a, degrees, all, dtype);
          model::Decoder& decoder = *shard.decoder;
          const at::Tensor own_log_probs = log_probs_of(decoder);
          std::vector<int> mine;
          for (int i = shard.at.data; i < int(kLengths.size()); i += degrees.data)
            mine.push_back(i);
          const data::SequenceBatch own = batch.select_samples(mine);
          TrainEngine own_engine(decoder, plain_optimizer(), shard.groups);
          const metrics::Statistics statistics =
              own_engine.step(own, 1, weight_of(own), weighted_loss, kLimits);
          at::Tensor gradients = decoder.parameters().gradients().clone();
          shard.groups.data->all_reduce(gradients, comm::ReduceOp::kSum);

          const std::lock_guard lock(mutex);
          const bool is_head = shard.at.pipe == degrees.pipe - 1;
          if (is_head) {
            largest.log_probs =
                std::max(largest.log_probs, max_difference(own_log_probs, log_probs));
          }
          if (is_head && shard.at.data == 0) {
            largest.loss = std::max(largest.loss, std::abs(*statistics.value("loss") - loss));
          }
          for (const model::ParameterSpec& spec : decoder.parameters().table().parameters) {
            const at::Tensor want = part_of(whole.parameters().gradient(spec.name), spec);
            const at::Tensor got = gradients.narrow(0, spec.offset, spec.numel).view(spec.shape);
            largest.gradients = std::max(largest.gradients, max_difference(got, want) / scale);
          }
        });
  }
  return largest;
}

void print(const char* kind, const char* dtype, const Differences& d) {
  std::printf(
      "%s %s: %zu layouts, largest difference: loss %.1e, log-probability %.1e, gradient "
      "%.1e of the largest\n",
      kind, dtype, d.n_layouts, d.loss, d.log_probs, d.gradients);
}

TEST_P(EveryLayout, GivesEveryGradientOfOneWorker) {
  const Differences d = differences_of_a_step(four_layers(GetParam()), at::kDouble);

  print(GetParam(), "fp64", d);
  EXPECT_LT(d.loss, kFp64);
  EXPECT_LT(d.log_probs, kFp64);
  EXPECT_LT(d.gradients, kFp64);
}

// Sums in another order: roundings of 6e-8 of numbers of about 10, enlarged layer by layer by
// weights three times their usual size; fp64 shows the same enlargement (1e-13 from 1e-16).
constexpr double kFp32 = 5e-4;

TEST_P(EveryLayout, GivesThemInFp32ToRounding) {
  const Differences d = differences_of_a_step(four_layers(GetParam()), at::kFloat);

  print(GetParam(), "fp32", d);
  EXPECT_LT(d.loss, kFp32);
  EXPECT_LT(d.log_probs, kFp32);
  EXPECT_LT(d.gradients, kFp32);
}

TEST_P(EveryLayout, GivesThemOfBf16ParametersAsOfFp32Ones) {
  const Differences d = differences_of_a_step(four_layers(GetParam()), at::kBFloat16);

  print(GetParam(), "bf16", d);
  EXPECT_LT(d.loss, kFp32);
  EXPECT_LT(d.log_probs, kFp32);
  EXPECT_LT(d.gradients, kFp32);
}

/// What a rank has after two optimizer steps in which the first layers of its stage are recomputed:
/// loss and norm of each, gradients of the last, parameters; and the bytes of its activations.
struct Trained {
  std::vector<at::Tensor> numbers;
  int64_t activation_bytes = 0;
};

Trained train_recomputing(const model::Architecture& a, const graph::Degrees& degrees,
                          comm::Communicator& all, int64_t n_recomputed) {
  const data::SequenceBatch batch = random_batch(kLengths);
  TestShard shard(a, degrees, all);
  model::Decoder& decoder = *shard.decoder;
  decoder.set_recomputed_layers(std::min(n_recomputed, decoder.n_layers()));
  std::vector<int> mine;
  for (int i = shard.at.data; i < int(kLengths.size()); i += degrees.data) mine.push_back(i);
  const data::SequenceBatch own = batch.select_samples(mine);
  OptimizerOptions options = plain_optimizer();
  if (a.experts.count > 0) options.balance_coefficient = 0.1;
  TrainEngine engine(decoder, options, shard.groups);
  Trained trained;
  for (int step = 0; step < 2; ++step) {
    const metrics::Statistics statistics =
        engine.step(own, 0.7, weight_of(own), weighted_loss, kLimits);
    for (const char* name : {"loss", "grad_norm", "n_tokens"}) {
      trained.numbers.push_back(at::tensor({statistics.value(name).value_or(0)}, at::kDouble));
    }
  }
  trained.numbers.push_back(decoder.parameters().gradients());
  trained.numbers.push_back(decoder.parameters().values());
  trained.activation_bytes = decoder.activation_bytes();
  return trained;
}

TEST_P(EveryLayout, TrainsToTheSameBitsHoweverManyLayersAreRecomputed) {
  const model::Architecture a = four_layers(GetParam());
  for (const graph::Degrees& degrees : {graph::Degrees{.pipe = 1, .data = 1, .tensor = 1},
                                        graph::Degrees{.pipe = 1, .data = 1, .tensor = 2},
                                        graph::Degrees{.pipe = 2, .data = 1, .tensor = 1},
                                        graph::Degrees{.pipe = 2, .data = 2, .tensor = 2}}) {
    SCOPED_TRACE(testing::Message()
                 << "d" << degrees.data << "t" << degrees.tensor << "p" << degrees.pipe);
    comm::run_as_threads(
        degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
          const Trained kept = train_recomputing(a, degrees, all, 0);
          const Trained one = train_recomputing(a, degrees, all, 1);
          const Trained every = train_recomputing(a, degrees, all, a.n_layers);

          for (size_t i = 0; i < kept.numbers.size(); ++i) {
            EXPECT_TRUE(at::equal(kept.numbers[i], one.numbers[i])) << "number " << i;
            EXPECT_TRUE(at::equal(kept.numbers[i], every.numbers[i])) << "number " << i;
          }
          EXPECT_GT(kept.numbers.back().abs().max().item<double>(), 0);
          EXPECT_LT(one.activation_bytes, kept.activation_bytes);
        });
  }
}

}  // namespace
}  // namespace orrery::parallel
