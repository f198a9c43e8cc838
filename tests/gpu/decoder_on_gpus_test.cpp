// The decoder on simulated GPUs beside the same on CPUs, every kind of architecture: what it
// scores, its gradients and what it generates, on one GPU and on two tensor ranks over the
// simulated NCCL.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "decoders_on_gpus.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/adamw.h"
#include "orrery/parallel/train_engine.h"
#include "orrery/worker/model_device.h"
#include "streams.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

/// Sums in another order than the CPU's, of the largest value.
constexpr double kFp64 = 1e-11;

void expect_same(const Results& got, const Results& expected) {
  EXPECT_LT(distance(got.log_probs, expected.log_probs), kFp64);
  EXPECT_LT(distance(got.entropy, expected.entropy), kFp64);
  EXPECT_LT(distance(got.gradients, expected.gradients), kFp64);
}

class EveryKind : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(DecoderOnGpus, EveryKind, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(EveryKind, GivesTheLogProbsEntropiesAndGradientsOfTheCpu) {
  Decoder cpu = on_cpu(GetParam(), at::kDouble), gpu = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  expect_same(results_of(gpu, batch), results_of(cpu, batch));
}

TEST_P(EveryKind, IsAsNearInFp32AsTheCpuIs) {
  Decoder exact = on_cpu(GetParam(), at::kDouble), cpu = on_cpu(GetParam(), at::kFloat);
  Decoder gpu = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  const Results of_exact = results_of(exact, batch), of_cpu = results_of(cpu, batch);
  const Results of_gpu = results_of(gpu, batch);
  EXPECT_LT(distance(of_gpu.log_probs, of_exact.log_probs),
            4 * distance(of_cpu.log_probs, of_exact.log_probs));
  EXPECT_LT(distance(of_gpu.gradients, of_exact.gradients),
            4 * distance(of_cpu.gradients, of_exact.gradients));
}

TEST_P(EveryKind, GivesTheSameBitsWhenActivationsAreRecomputed) {
  const Decoder cpu = on_cpu(GetParam(), at::kFloat);
  Decoder kept = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  const Results a = results_of(kept, batch);
  for (const int64_t n : {int64_t{1}, kept.n_layers()}) {
    Decoder recomputed = on_gpu(cpu, 0);
    recomputed.set_recomputed_layers(n);
    const Results b = results_of(recomputed, batch);
    EXPECT_TRUE(at::equal(a.log_probs, b.log_probs)) << n;
    EXPECT_TRUE(at::equal(a.gradients, b.gradients)) << n;
  }
}

TEST_P(EveryKind, GivesTheSameBitsASecondTime) {
  const Decoder cpu = on_cpu(GetParam(), at::kFloat);
  Decoder first = on_gpu(cpu, 0), second = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  EXPECT_TRUE(at::equal(results_of(first, batch).gradients, results_of(second, batch).gradients));
}

TEST_P(EveryKind, GivesTheSameOnTwoTensorRanks) {
  const std::string kind = GetParam();
  comm::run_as_threads(2, [&](comm::Communicator& cpus) {
    const auto gpus = comm::make_nccl_communicator(cpus, "tensor", cpus.rank());
    const ShardPlace place{.tensor = cpus.rank(), .n_tensor = 2};
    Decoder cpu = on_cpu(kind, at::kDouble, {.place = place, .tensor = &cpus});
    Decoder gpu = on_gpu(cpu, cpus.rank(), {.place = place, .tensor = gpus.get()});
    const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
    const Results expected = results_of(cpu, batch);
    expect_same(results_of(gpu, batch), expected);
  });
}

TEST(DecoderOnGpus, ScoresWithoutWaitingForTheDevice) {
  const Decoder cpu = on_cpu("bias", at::kFloat);
  Decoder gpu = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  const at::NoGradGuard no_grad;
  gpu.log_probs(batch);  // tables and memory are there
  const simulated_gpu::Counters before = simulated_gpu::counters();
  const at::Tensor log_probs = gpu.log_probs(batch);
  const simulated_gpu::Counters after = simulated_gpu::counters();
  EXPECT_EQ(after.host_waits - before.host_waits, 0);
  EXPECT_EQ(after.host_reads - before.host_reads, 0);
}

TEST(DecoderOnGpus, IsTrainedByTheBitsOfTheCpusOptimizer) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(toString(dtype));
    Decoder cpu(parallel::four_layers("plain"), dtype);
    parallel::disturb(cpu.parameters());
    cpu.parameters().store();
    Decoder gpu = on_gpu(cpu, 0);
    gpu.parameters().store();
    parallel::AdamW of_cpu(cpu.parameters(), {.weight_decay = 0.1});
    parallel::AdamW of_gpu(gpu.parameters(), {.weight_decay = 0.1});
    for (int step = 0; step < 3; ++step) {
      cpu.parameters().gradients().copy_(at::arange(cpu.parameters().numel()).mul(0.7).sin());
      gpu.parameters().gradients().copy_(cpu.parameters().gradients());
      of_cpu.step(0.01, 0.5);
      of_gpu.step(0.01, 0.5);
    }
    EXPECT_TRUE(at::equal(gpu.parameters().stored().cpu(), cpu.parameters().stored()));
    EXPECT_TRUE(at::equal(gpu.parameters().values().cpu().to(of_cpu.first_moment().scalar_type()),
                          cpu.parameters().values()));
    EXPECT_TRUE(at::equal(of_gpu.first_moment().cpu(), of_cpu.first_moment()));
    EXPECT_TRUE(at::equal(of_gpu.second_moment().cpu(), of_cpu.second_moment()));
  }
}

void expect_same_answers(const GenerationResult& got, const GenerationResult& expected) {
  ASSERT_EQ(got.sequences.size(), expected.sequences.size());
  for (size_t i = 0; i < got.sequences.size(); ++i) {
    const GeneratedSequence &a = got.sequences[i], &b = expected.sequences[i];
    ASSERT_EQ(a.tokens, b.tokens) << i;
    for (size_t t = 0; t < a.tokens.size(); ++t) {
      EXPECT_NEAR(a.log_probs[t], b.log_probs[t], 1e-9);
      EXPECT_NEAR(a.entropies[t], b.entropies[t], 1e-9);
    }
  }
}

TEST_P(EveryKind, GeneratesTheTokensOfTheCpu) {
  const Decoder cpu = on_cpu(GetParam(), at::kDouble), gpu = on_gpu(cpu, 0);
  expect_same_answers(answers_of(gpu, 0), answers_of(cpu, 0));
}

// The last bits of a matmul depend on how many rows it has.
TEST_P(EveryKind, GeneratesTheSameTokensWhereSequencesArePreempted) {
  const Decoder gpu = on_gpu(on_cpu(GetParam(), at::kDouble), 0);
  const GenerationResult fewer = answers_of(gpu, 96);
  EXPECT_GT(fewer.preemptions, 0);
  expect_same_answers(fewer, answers_of(gpu, 0));
}

TEST_P(EveryKind, GeneratesTheTokensOfTheCpuOnTwoTensorRanks) {
  const std::string kind = GetParam();
  const GenerationResult expected = answers_of(on_cpu(kind, at::kDouble), 0);
  comm::run_as_threads(2, [&](comm::Communicator& cpus) {
    const auto gpus = comm::make_nccl_communicator(cpus, "tensor", cpus.rank());
    const ShardPlace place{.tensor = cpus.rank(), .n_tensor = 2};
    const Decoder cpu = on_cpu(kind, at::kDouble, {.place = place, .tensor = &cpus});
    const Decoder gpu = on_gpu(cpu, cpus.rank(), {.place = place, .tensor = gpus.get()});
    expect_same_answers(answers_of(gpu, 0), expected);
  });
}

// What the CPU gives of these files is as near to what transformers does as parallel.hf_parity
// says.
TEST(ParityOnGpus, EveryCheckpointOfHuggingFaceGivesTheNumbersOfTheCpu) {
  int n_checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(ORRERY_SOURCE_DIR) / "tests/fixtures/hf")) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    SCOPED_TRACE(entry.path().filename());
    Decoder cpu = load_hf(entry.path(), at::kDouble);
    Decoder gpu(cpu.architecture(), at::kDouble, c10::Device(c10::kCUDA, 0));
    load_hf_parameters(entry.path(), gpu);
    EXPECT_TRUE(at::equal(gpu.parameters().values().cpu(), cpu.parameters().values()));
    const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
    const at::NoGradGuard no_grad;
    const bool has_values = cpu.architecture().value_head;
    const auto numbers = [&](Decoder& decoder) {
      return (has_values ? decoder.values(batch) : decoder.log_probs(batch, 0.7)).cpu();
    };
    EXPECT_LT(distance(numbers(gpu), numbers(cpu)), kFp64);
    ++n_checked;
  }
  EXPECT_GE(n_checked, 20);
}

// What the simulated device counts: nothing about time, but what a GPU and its host have to do.

simulated_gpu::Counters operator-(simulated_gpu::Counters a, const simulated_gpu::Counters& b) {
  a.kernels -= b.kernels;
  a.host_waits -= b.host_waits;
  a.copies_to_device -= b.copies_to_device;
  a.copies_to_host -= b.copies_to_host;
  a.bytes_to_device -= b.bytes_to_device;
  a.bytes_to_host -= b.bytes_to_host;
  return a;
}

void tell(const char* what, const simulated_gpu::Counters& c) {
  std::cout << what << ": " << c.kernels << " kernels, " << c.host_waits << " waits, "
            << c.copies_to_device << " copies of " << c.bytes_to_device << " bytes there, "
            << c.copies_to_host << " of " << c.bytes_to_host << " back\n";
}

simulated_gpu::Counters counts_of(const std::function<void()>& work) {
  const simulated_gpu::Counters before = simulated_gpu::counters();
  work();
  return simulated_gpu::counters() - before;
}

TEST(CountsOnGpus, AnOptimizerStepWaitsForItsLossesAndItsNorm) {
  comm::run_as_threads(1, [](comm::Communicator& cpus) {
    const auto group = worker::group_for(c10::Device(c10::kCUDA, 0), cpus.split(0, 0, "data"));
    Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
    parallel::OptimizerOptions options;
    options.schedule.max_lr = 1e-3;
    options.schedule.decay_steps = 10;
    parallel::TrainEngine engine(gpu, options, *group);
    const PackedTokens tokens = some_tokens(gpu.architecture().vocab_size);
    data::SequenceBatch batch;
    for (uint64_t i = 0; i < 5; ++i) batch.meta.ids.push_back({i});
    batch.set("packed_input_ids", tokens.tokens,
              data::NestedLengths::of_single(std::vector<int32_t>{5, 1, 12, 2, 21}));
    const parallel::LossFunction loss = [](const at::Tensor& log_probs,
                                           const data::SequenceBatch&) {
      return parallel::LossResult{.loss_sum = -log_probs.sum(), .statistics = {}};
    };
    const auto step = [&] { engine.step(batch, 1, 36, loss, {.min_parts = 2}); };
    step();
    const simulated_gpu::Counters counts = counts_of(step);
    tell("an optimizer step of 2 micro-batches, 4 layers", counts);
    EXPECT_EQ(counts.host_waits, 3);  // the loss of each micro-batch; the norm
    EXPECT_EQ(counts.kernels, 265);
    EXPECT_EQ(counts.copies_to_device, 28);
    EXPECT_EQ(counts.copies_to_host, 2);
    EXPECT_EQ(gpu.parameters().gradients().storage().data(), nullptr) << "memory for generation";
  });
}

}  // namespace
}  // namespace orrery::model
