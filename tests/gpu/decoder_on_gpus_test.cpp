// The decoder on GPUs beside the same on CPUs, every kind of architecture: what it scores, its
// gradients and what it generates, on one GPU and on two tensor ranks over NCCL. Runs on simulated
// GPUs in CI and on real ones in tools/gpu_check.sh, by the same tolerances.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>  // pair
#include <vector>

#include "decoders_on_gpus.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/gpu.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/adamw.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

/// Sums in another order than the CPU's and other last digits of exponentials, of the largest
/// value.
constexpr double kFp64 = 1e-9;

/// LibTorch's operators of GPUs are there before the first test.
class OpenGpu : public testing::Environment {
 public:
  void SetUp() override {
    if (const std::string why = kernels::why_no_gpu(); !why.empty()) {
      GTEST_SKIP() << "NOT RUN ON A GPU: " << why;
    }
    comm::open_gpu(0);
  }
};
const testing::Environment* const kOpenGpu = testing::AddGlobalTestEnvironment(new OpenGpu);

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
  // Functions of a GPU are some last digits off; matmuls of TF32 would be a thousand times as far.
  EXPECT_LT(distance(of_gpu.log_probs, of_exact.log_probs),
            10 * distance(of_cpu.log_probs, of_exact.log_probs));
  EXPECT_LT(distance(of_gpu.gradients, of_exact.gradients),
            10 * distance(of_cpu.gradients, of_exact.gradients));
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
  if (kernels::gpu_count() < 2) GTEST_SKIP() << kOneGpu;
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

TEST(DecoderOnGpus, StoresGradientsInBf16AsTheCpuDoes) {
  for (const char* kind : {"bias", "tied", "experts"}) {
    Decoder wide(on_gpu(on_cpu(kind, at::kFloat), 0)), narrow(on_gpu(on_cpu(kind, at::kFloat), 0));
    narrow.parameters().store_gradients_in_bf16();
    const PackedTokens batch = some_tokens(wide.architecture().vocab_size);
    const at::Tensor expected = results_of(wide, batch).gradients;
    const at::Tensor got = results_of(narrow, batch).gradients;
    EXPECT_EQ(got.scalar_type(), at::kBFloat16);
    EXPECT_LT(distance(got, expected), 1.0 / 256);
    if (std::string(kind) == "tied") continue;  // whose head and embedding add up
    EXPECT_TRUE(at::equal(got, expected.to(at::kBFloat16))) << kind;
  }
}

TEST(DecoderOnGpus, IsTrainedByTheBitsOfTheCpusOptimizer) {
  for (const auto& [dtype, bf16_moments, bf16_gradients] : {std::tuple{at::kDouble, false, false},
                                                            {at::kFloat, false, false},
                                                            {at::kFloat, true, false},
                                                            {at::kFloat, true, true},
                                                            {at::kBFloat16, false, false},
                                                            {at::kBFloat16, false, true},
                                                            {at::kBFloat16, true, false}}) {
    SCOPED_TRACE(testing::Message() << dtype << ", moments of bf16: " << bf16_moments
                                    << ", gradients of bf16: " << bf16_gradients);
    Decoder cpu(parallel::four_layers("plain"), dtype);
    parallel::disturb(cpu.parameters());
    cpu.parameters().store();
    Decoder gpu = on_gpu(cpu, 0);
    gpu.parameters().store();
    if (bf16_gradients) {
      cpu.parameters().store_gradients_in_bf16();
      gpu.parameters().store_gradients_in_bf16();
    }
    const parallel::AdamWOptions options{.weight_decay = 0.1, .bf16_moments = bf16_moments};
    parallel::AdamW of_cpu(cpu.parameters(), options), of_gpu(gpu.parameters(), options);
    for (int step = 0; step < 3; ++step) {
      cpu.parameters().gradients().copy_(at::arange(cpu.parameters().numel()).mul(0.7).sin());
      gpu.parameters().gradients().copy_(cpu.parameters().gradients());
      of_cpu.step(0.01, 0.5);
      of_gpu.step(0.01, 0.5);
    }
    EXPECT_TRUE(at::equal(gpu.parameters().stored().cpu(), cpu.parameters().stored()));
    EXPECT_TRUE(
        at::equal(gpu.parameters().values().cpu().to(cpu.parameters().values().scalar_type()),
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
  if (kernels::gpu_count() < 2) GTEST_SKIP() << kOneGpu;
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
  for (const auto& entry : std::filesystem::directory_iterator(fixtures())) {
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

}  // namespace
}  // namespace orrery::model
