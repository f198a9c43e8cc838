// Parameters of bf16: stored so, computed with in fp32, updated through fp32 master weights that
// the data ranks share among themselves.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>

#include "orrery/base/error.h"
#include "orrery/parallel/gradient_reduction.h"
#include "orrery/parallel/reallocation.h"
#include "orrery/parallel/train_engine.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"
#include "training_for_test.h"

namespace orrery::parallel {
namespace {

const std::vector<int32_t> kLengths = {7, 12, 5, 9};

data::SequenceBatch fp32_batch() {
  data::SequenceBatch batch = random_batch(kLengths);
  batch.data["weights"] = batch.data["weights"].to(at::kFloat);
  return batch;
}

bool stores_its_values(const model::FlatParameters& parameters) {
  return at::equal(parameters.stored().to(at::kFloat), parameters.values());
}

TEST(Bf16Parameters, AreStoredInTwoBytesAndComputedWithInFp32) {
  model::Decoder decoder = small_decoder(at::kBFloat16);
  decoder.parameters().initialise(7);
  model::FlatParameters& parameters = decoder.parameters();

  EXPECT_EQ(parameters.stored().scalar_type(), at::kBFloat16);
  EXPECT_EQ(parameters.values().scalar_type(), at::kFloat);
  EXPECT_EQ(parameters.gradients().scalar_type(), at::kFloat);
  EXPECT_EQ(decoder.dtype(), at::kFloat);
  EXPECT_TRUE(stores_its_values(parameters));
  model::Decoder fp32 = small_decoder(at::kFloat);
  fp32.parameters().initialise(7);
  EXPECT_TRUE(at::equal(parameters.stored(), fp32.parameters().values().to(at::kBFloat16)));
  EXPECT_FALSE(at::equal(parameters.values(), fp32.parameters().values())) << "rounded";
}

TEST(Bf16Parameters, OfOtherTypesAreOneBuffer) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    model::Decoder decoder = small_decoder(dtype);
    const at::Tensor before = decoder.parameters().values().clone();

    decoder.parameters().store();
    decoder.parameters().widen();

    EXPECT_TRUE(decoder.parameters().stored().is_alias_of(decoder.parameters().values()));
    EXPECT_TRUE(at::equal(decoder.parameters().values(), before));
    comm::run_as_threads(1, [&](comm::Communicator& group) {
      TrainEngine engine(decoder, plain_optimizer(), group);
      EXPECT_FALSE(engine.optimizer().master_weights().defined());
    });
  }
  EXPECT_THROW(small_decoder(at::kHalf), ConfigError);
}

TEST(Bf16Parameters, GoBackToTheSystemInBothForms) {
  model::Decoder decoder = small_decoder(at::kBFloat16);

  decoder.parameters().release();

  EXPECT_EQ(decoder.parameters().stored().abs().max().item<float>(), 0);
  EXPECT_EQ(decoder.parameters().values().abs().max().item<float>(), 0);
}

TEST(Bf16Training, AddsUpStepsThatAreTooSmallForBf16) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder(at::kBFloat16);
    decoder.parameters().store();
    const at::Tensor before = decoder.parameters().stored().clone();
    OptimizerOptions options = plain_optimizer();
    options.adamw.weight_decay = 0;
    options.schedule.max_lr = 1e-5;  // bf16 tells 0.01 and 0.01003 apart, not 0.01 and 0.01001
    TrainEngine engine(decoder, options, group);
    const data::SequenceBatch batch = fp32_batch();
    const auto n_changed = [&] {
      return at::ne(decoder.parameters().stored(), before).sum().item<int64_t>();
    };

    engine.step(batch, 1, weight_of(batch), weighted_loss, {});
    const int64_t after_one = n_changed();
    for (int i = 0; i < 60; ++i) engine.step(batch, 1, weight_of(batch), weighted_loss, {});

    EXPECT_LT(after_one, before.numel() / 10);
    EXPECT_GT(n_changed(), 3 * std::max<int64_t>(after_one, 10));
    EXPECT_TRUE(stores_its_values(decoder.parameters()));
    EXPECT_TRUE(at::equal(decoder.parameters().stored(),
                          engine.optimizer().master_weights().to(at::kBFloat16)));
  });
}

TEST(Bf16Training, OnAnyLayoutIsThatOfOneWorker) {
  const model::Architecture a = four_layers("tied");
  const data::SequenceBatch batch = fp32_batch();
  model::Decoder whole(a, at::kBFloat16);
  disturb(whole.parameters());
  auto alone = comm::make_thread_communicators(1, "alone");
  TrainEngine engine(whole, plain_optimizer(), *alone[0]);
  for (int step = 0; step < 3; ++step)
    engine.step(batch, 1, weight_of(batch), weighted_loss, {.max_tokens = 18});

  for (const graph::Degrees& degrees :
       {graph::Degrees{1, 2, 1}, graph::Degrees{1, 4, 1}, graph::Degrees{1, 2, 2},
        graph::Degrees{2, 2, 1}, graph::Degrees{2, 1, 2}, graph::Degrees{4, 1, 1}}) {
    std::mutex mutex;
    comm::run_as_threads(
        degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
          TestShard shard(a, degrees, all, at::kBFloat16);
          std::vector<int> mine;
          for (int i = shard.at.data; i < int(kLengths.size()); i += degrees.data)
            mine.push_back(i);
          const data::SequenceBatch own = batch.select_samples(mine);
          TrainEngine own_engine(*shard.decoder, plain_optimizer(), shard.groups);
          for (int step = 0; step < 3; ++step)
            own_engine.step(own, 1, weight_of(own), weighted_loss, {.max_tokens = 18});

          const std::lock_guard lock(mutex);
          EXPECT_TRUE(stores_its_values(shard.decoder->parameters()));
          EXPECT_EQ(own_engine.optimizer().master_weights().numel(),
                    own_engine.optimizer().owned().count);
          int64_t n_close = 0;
          for (const model::ParameterSpec& spec : shard.decoder->parameters().table().parameters) {
            const at::Tensor want = part_of(whole.parameters().leaf(spec.name).detach(), spec);
            const at::Tensor got = shard.decoder->parameters().leaf(spec.name).detach();
            // Masters that differ in rounding may round to neighbours in bf16, 2^-8 apart.
            n_close += at::isclose(got, want, 1.0 / 128, 1e-5).sum().item<int64_t>();
            // Adam moves every parameter by the learning rate, whatever the gradient's size: by the
            // sign of its rounding where it is 0 but for that.
            EXPECT_LT(max_difference(got, want), 2 * 3 * 1e-2 * 1.05)
                << spec.name << " d" << degrees.data << "t" << degrees.tensor << "p"
                << degrees.pipe;
          }
          EXPECT_GT(n_close, shard.decoder->parameters().numel() * 95 / 100);
        });
  }
}

TEST(Bf16Training, GoesOnFromSavedMasters) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    const data::SequenceBatch batch = fp32_batch();
    const auto step = [&](TrainEngine& engine) {
      engine.step(batch, 1, weight_of(batch), weighted_loss, {});
    };
    model::Decoder first = small_decoder(at::kBFloat16), second = small_decoder(at::kBFloat16);
    first.parameters().store();
    TrainEngine engine(first, plain_optimizer(), group), other(second, plain_optimizer(), group);
    for (int i = 0; i < 3; ++i) step(engine);

    second.parameters().stored().copy_(first.parameters().stored());
    second.parameters().widen();
    const AdamW& saved = engine.optimizer();
    other.optimizer().restore(saved.steps_done(), saved.first_moment(), saved.second_moment(),
                              saved.master_weights());
    for (int i = 0; i < 3; ++i) {
      step(engine);
      step(other);
    }

    EXPECT_TRUE(at::equal(first.parameters().stored(), second.parameters().stored()));
    EXPECT_TRUE(at::equal(saved.master_weights(), other.optimizer().master_weights()));
  });
}

/// What backward adds for the micro-batches of a minibatch.
at::Tensor gradients_of(model::Decoder& decoder, const MicroBatchLimits& limits) {
  decoder.parameters().zero_gradients();
  for (const data::SequenceBatch& part : micro_batches(fp32_batch(), limits)) {
    const model::PackedTokens tokens = model::pack_tokens(
        part.at("packed_input_ids"), part.meta.at("packed_input_ids").lengths.flat());
    weighted_loss(decoder.log_probs(tokens), part).loss_sum.backward();
  }
  return decoder.parameters().gradients().clone();
}

class EveryKindsGradients : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Bf16Gradients, EveryKindsGradients,
                         testing::Values("plain", "bias", "qk_norm", "tied", "gpt2", "olmo2",
                                         "experts"));

TEST_P(EveryKindsGradients, AreThoseOfFp32RoundedOnceForEachMicroBatch) {
  for (const int64_t n : {1, 2}) {
    model::Decoder fp32(four_layers(GetParam()), at::kFloat);
    model::Decoder bf16(four_layers(GetParam()), at::kFloat);
    disturb(fp32.parameters());
    disturb(bf16.parameters());
    bf16.parameters().store_gradients_in_bf16();

    const at::Tensor expected = gradients_of(fp32, {.min_parts = n});
    const at::Tensor got = gradients_of(bf16, {.min_parts = n});

    EXPECT_EQ(got.scalar_type(), at::kBFloat16);
    EXPECT_EQ(bf16.parameters().leaf(size_t{0}).grad().scalar_type(), at::kBFloat16);
    if (n == 1 && !fp32.architecture().tie_embeddings) {  // else head and embedding add up
      EXPECT_TRUE(at::equal(got, expected.to(at::kBFloat16)));
    }
    const at::Tensor off = (got.to(at::kFloat) - expected).norm() / expected.norm();
    EXPECT_LT(off.item<double>(), 1.0 / 256);
    EXPECT_GT(off.item<double>(), 0);
  }
}

TEST(Bf16Gradients, OfAValueHeadAreRoundedOnceAsWell) {
  model::Architecture a = four_layers("plain");
  a.value_head = true;
  model::Decoder fp32(a, at::kFloat), bf16(a, at::kFloat);
  for (model::Decoder* decoder : {&fp32, &bf16}) {
    disturb(decoder->parameters());
    if (decoder == &bf16) decoder->parameters().store_gradients_in_bf16();
    const data::SequenceBatch batch = fp32_batch();
    decoder->values(model::pack_tokens(batch.at("packed_input_ids"), kLengths)).sum().backward();
  }
  EXPECT_TRUE(
      at::equal(bf16.parameters().gradients(), fp32.parameters().gradients().to(at::kBFloat16)));
}

TEST(Bf16Gradients, OfDataRanksAreSummedInFp32AndRoundedOnce) {
  for (const int n_ranks : {2, 3}) {
    comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
      const auto of_rank = [](int rank) {
        return at::arange(1001, at::kFloat).mul(0.3 + rank).sin().to(at::kBFloat16);
      };
      at::Tensor sum = at::zeros({1001});
      for (int rank = 0; rank < n_ranks; ++rank) sum += of_rank(rank).to(at::kFloat);
      const model::IndexRange own = owned_partition(1001, group.rank(), n_ranks);
      const at::Tensor got = reduce_to_owners(of_rank(group.rank()), group, 300);
      EXPECT_TRUE(at::equal(got, sum.narrow(0, own.first, own.count).to(at::kBFloat16)));
    });
  }
}

TEST(Bf16Gradients, HaveTheirNormInFp32) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    model::Decoder decoder = small_decoder(at::kBFloat16);
    OptimizerOptions options = plain_optimizer();
    options.bf16_gradients = true;
    TrainEngine engine(decoder, options, group);
    const data::SequenceBatch batch = fp32_batch();
    const metrics::Statistics said = engine.step(batch, 1, weight_of(batch), weighted_loss, {});
    const at::Tensor& gradients = decoder.parameters().gradients();  // the host keeps them
    ASSERT_EQ(gradients.scalar_type(), at::kBFloat16);
    const double exact = gradients.to(at::kDouble).norm().item<double>() / weight_of(batch);
    EXPECT_NEAR(said.value("grad_norm").value() / exact, 1, 1e-6);
  });
}

TEST(Bf16Gradients, AreReadByAdamWAsTheFp32NumbersThatTheyAre) {
  for (const bool bf16_moments : {false, true}) {
    model::Decoder wide = small_decoder(at::kFloat), narrow = small_decoder(at::kFloat);
    narrow.parameters().store_gradients_in_bf16();
    const AdamWOptions options{.weight_decay = 0.1, .bf16_moments = bf16_moments};
    AdamW of_wide(wide.parameters(), options), of_narrow(narrow.parameters(), options);
    for (int step = 1; step <= 3; ++step) {
      const at::Tensor numbers = at::arange(wide.parameters().numel()).mul(0.1 + step).sin();
      narrow.parameters().gradients().copy_(numbers);
      wide.parameters().gradients().copy_(narrow.parameters().gradients());
      of_wide.step(0.01, 0.5);
      of_narrow.step(0.01, 0.5);
    }
    EXPECT_TRUE(at::equal(narrow.parameters().values(), wide.parameters().values()));
    EXPECT_TRUE(at::equal(of_narrow.second_moment(), of_wide.second_moment()));
  }
}

TEST(Bf16Reallocation, MovesTwoBytesAnElementAndMixesInFp32) {
  const model::Architecture a = four_layers("plain");
  const auto source_layout = graph::Layout::parse("d1t2p1@0-1");
  const auto plan =
      plan_reallocation(shards_of(a, source_layout), shards_of(a, graph::Layout::parse("d1@2")));
  comm::run_as_threads(3, [&](comm::Communicator& workers) {
    const int rank = workers.rank();
    model::ShardPlace place;
    if (rank < 2) place = {.tensor = rank, .n_tensor = 2};
    model::FlatParameters parameters(model::parameter_table(a, place), at::kBFloat16);
    parameters.initialise(rank < 2 ? 5 : 6);
    const at::Tensor source = rank < 2 ? parameters.stored() : at::Tensor();
    const at::Tensor old = parameters.values().clone();
    const at::Tensor shadow = rank < 2 ? at::Tensor() : old.clone();

    const ReallocationResult result =
        reallocate(plan, workers, source, shadow, at::kBFloat16, 1.0 / 1024);

    if (rank < 2) {
      EXPECT_GT(result.bytes_sent, 0);
      EXPECT_LE(result.bytes_sent, parameters.numel() * 2) << "a shared norm is sent by one";
      return;
    }
    model::FlatParameters fresh(model::parameter_table(a), at::kBFloat16);
    fresh.initialise(5);
    EXPECT_EQ(result.bytes_received, parameters.numel() * 2);
    EXPECT_TRUE(at::allclose(shadow, old + (fresh.values() - old) / 1024, 1e-6, 1e-8));
  });
}

}  // namespace
}  // namespace orrery::parallel
