// Every layout gives the result of one worker: loss, every gradient, log-probabilities, parameters
// after optimizer steps. Workers are threads; fp64, so that a difference is a fault, not rounding.
// ORRERY_FULL=1 runs all layouts of up to 8 workers, otherwise those of up to 4 and some of 8.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <mutex>

#include "orrery/comm/thread_communicator.h"
#include "orrery/parallel/gradient_reduction.h"
#include "shards_for_test.h"
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
                                         "experts"),
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

TEST_P(EveryLayout, GivesEveryGradientOfOneWorker) {
  const model::Architecture a = four_layers(GetParam());
  const data::SequenceBatch batch = random_batch(kLengths);
  model::Decoder whole(a, at::kDouble);
  disturb(whole.parameters());
  const model::PackedTokens tokens = model::pack_tokens(batch.at("packed_input_ids"), kLengths);
  weighted_loss(whole.log_probs(tokens), batch).loss_sum.backward();

  for (const graph::Degrees& degrees : layouts(a)) {
    if (degrees.data > 1 || degrees.pipe > 1) continue;  // the engine's, in the test above
    SCOPED_TRACE(testing::Message() << "t" << degrees.tensor);
    std::mutex mutex;
    comm::run_as_threads(degrees.tensor, [&](comm::Communicator& all) {
      TestShard shard(a, degrees, all);
      weighted_loss(shard.decoder->log_probs(tokens), batch).loss_sum.backward();
      sum_shared_gradients(*shard.decoder, shard.groups);

      const std::lock_guard lock(mutex);
      for (const model::ParameterSpec& spec : shard.decoder->parameters().table().parameters) {
        const at::Tensor want = part_of(whole.parameters().gradient(spec.name), spec);
        EXPECT_LT(max_difference(shard.decoder->parameters().gradient(spec.name), want), kFp64)
            << spec.name << " of rank " << all.rank();
      }
    });
  }
}

TEST(RecomputedActivations, GiveTheSameOnTensorRanks) {
  const model::Architecture a = four_layers("plain");
  const data::SequenceBatch batch = random_batch(kLengths);
  const model::PackedTokens tokens = model::pack_tokens(batch.at("packed_input_ids"), kLengths);
  comm::run_as_threads(2, [&](comm::Communicator& all) {
    std::vector<at::Tensor> gradients;
    for (const auto activations : {model::Activations::kKeep, model::Activations::kRecompute}) {
      TestShard shard(a, {1, 1, 2}, all);
      shard.decoder->set_activations(activations);
      weighted_loss(shard.decoder->log_probs(tokens), batch).loss_sum.backward();
      gradients.push_back(shard.decoder->parameters().gradients());
    }
    EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  });
}

}  // namespace
}  // namespace orrery::parallel
