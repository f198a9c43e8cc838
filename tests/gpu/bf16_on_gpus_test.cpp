// Decoders of bf16 on simulated GPUs, where they are computed with as they are stored: beside the
// same parameters in fp64 on a CPU.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>  // getenv
#include <filesystem>
#include <iostream>

#include "decoders_on_gpus.h"
#include "orrery/base/index.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/gpu.h"
#include "orrery/model/hf_directory.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

/// Numbers of eight bits through four layers, of the largest; a wrong operator is off by as much.
constexpr double kBf16 = 0.06;

/// Of a kind, its heads as they are, which plain attention computes, or of eight numbers, which
/// flash attention takes.
struct Kind {
  const char* name;
  bool is_for_flash;
};

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const char* name : kKinds) kinds.insert(kinds.end(), {{name, false}, {name, true}});
  return kinds;
}

/// To numbers that bf16 has, of a size at which a model forgives roundings.
void round_parameters(Decoder& decoder) {
  const at::Tensor values = decoder.parameters().values().div_(3);
  values.copy_(values.to(at::kBFloat16));
}

/// Parameters that bf16 has, in fp64.
Decoder exact_on_cpu(const Kind& kind, Shard shard = {}) {
  Architecture a = parallel::four_layers(kind.name);
  if (kind.is_for_flash) a.head_dim = 8;
  Decoder decoder(a, at::kDouble, at::kCPU, shard);
  parallel::disturb(decoder.parameters());
  round_parameters(decoder);
  return decoder;
}

Decoder bf16_on_gpu(const Decoder& exact, int gpu, Shard shard = {}) {
  Decoder decoder(exact.architecture(), at::kBFloat16,
                  at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)), shard);
  decoder.parameters().values().copy_(exact.parameters().values());
  return decoder;
}

class EveryKindInBf16 : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(DecoderOnGpus, EveryKindInBf16, testing::ValuesIn(all_kinds()),
                         [](const auto& kind) {
                           return std::string(kind.param.name) +
                                  (kind.param.is_for_flash ? "_flash" : "");
                         });

TEST_P(EveryKindInBf16, GivesLogProbsEntropiesAndGradientsNearTheExactOnes) {
  Decoder exact = exact_on_cpu(GetParam()), gpu = bf16_on_gpu(exact, 0);
  const PackedTokens batch = some_tokens(exact.architecture().vocab_size);

  const Results got = results_of(gpu, batch), expected = results_of(exact, batch);

  EXPECT_EQ(gpu.parameters().values().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(gpu.parameters().stored().is_alias_of(gpu.parameters().values()));
  for (const at::Tensor& x : {got.log_probs, got.entropy, got.gradients}) {
    EXPECT_EQ(x.scalar_type(), at::kFloat);
  }
  EXPECT_LT(distance(got.log_probs, expected.log_probs), kBf16);
  EXPECT_LT(distance(got.entropy, expected.entropy), kBf16);
  EXPECT_LT(distance(got.gradients, expected.gradients), kBf16);
}

TEST_P(EveryKindInBf16, GivesTheSameBitsASecondTimeAndWhenActivationsAreRecomputed) {
  const Decoder exact = exact_on_cpu(GetParam());
  Decoder kept = bf16_on_gpu(exact, 0);
  const PackedTokens batch = some_tokens(exact.architecture().vocab_size);
  const Results a = results_of(kept, batch);
  for (const int64_t n : {int64_t{0}, int64_t{1}, kept.n_layers()}) {
    Decoder again = bf16_on_gpu(exact, 0);
    again.set_recomputed_layers(n);
    const Results b = results_of(again, batch);
    EXPECT_TRUE(at::equal(a.log_probs, b.log_probs)) << n;
    EXPECT_TRUE(at::equal(a.gradients, b.gradients)) << n;
  }
}

TEST_P(EveryKindInBf16, IsAsNearOnTwoTensorRanks) {
  if (kernels::gpu_count() < 2) GTEST_SKIP() << kOneGpu;
  const Kind kind = GetParam();
  comm::run_as_threads(2, [&](comm::Communicator& cpus) {
    const auto gpus = comm::make_nccl_communicator(cpus, "tensor", cpus.rank());
    const ShardPlace place{.tensor = cpus.rank(), .n_tensor = 2};
    Decoder exact = exact_on_cpu(kind, {.place = place, .tensor = &cpus});
    Decoder gpu = bf16_on_gpu(exact, cpus.rank(), {.place = place, .tensor = gpus.get()});
    const PackedTokens batch = some_tokens(exact.architecture().vocab_size);
    const Results expected = results_of(exact, batch), got = results_of(gpu, batch);
    EXPECT_LT(distance(got.log_probs, expected.log_probs), kBf16);
    EXPECT_LT(distance(got.gradients, expected.gradients), kBf16);
  });
}

/// What the decoder says of answers, beside what was said where they were drawn.
double gap_of(Decoder& decoder, const GenerationResult& answers, const PackedTokens& prompts) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  int64_t n = 0;
  for (size_t i = 0; i < answers.sequences.size(); ++i) {
    const GeneratedSequence& answer = answers.sequences[i];
    const size_t prompt = i / (answers.sequences.size() / base::index(prompts.n_sequences()));
    const int64_t begin = prompts.cu_seqlens[prompt], end = prompts.cu_seqlens[prompt + 1];
    const at::Tensor tokens = at::cat(
        {prompts.tokens.narrow(0, begin, end - begin), at::tensor(answer.tokens, at::kLong)});
    const std::vector<int32_t> length{static_cast<int32_t>(tokens.numel())};
    const at::Tensor log_probs = decoder.log_probs(pack_tokens(tokens, length), 0.9).cpu();
    for (size_t t = 0; t < answer.tokens.size(); ++t, ++n) {
      const int64_t place = end - begin - 1 + static_cast<int64_t>(t);
      sum += std::abs(log_probs[place].item<double>() - answer.log_probs[t]);
    }
  }
  return sum / static_cast<double>(n);
}

TEST_P(EveryKindInBf16, SaysOfItsAnswersWhatItSaidWhenItDrewThem) {
  Decoder gpu = bf16_on_gpu(exact_on_cpu(GetParam()), 0);
  const double gap = gap_of(gpu, answers_of(gpu, 0), some_tokens(gpu.architecture().vocab_size));
  std::cout << "mean gap " << gap << " nats\n";
  EXPECT_LT(gap, 0.03);
}

TEST_P(EveryKindInBf16, GeneratesTheSameTokensWhereSequencesArePreempted) {
  const Decoder gpu = bf16_on_gpu(exact_on_cpu(GetParam()), 0);
  const GenerationResult fewer = answers_of(gpu, 96), all = answers_of(gpu, 0);
  EXPECT_GT(fewer.preemptions, 0);
  for (size_t i = 0; i < all.sequences.size(); ++i) {
    EXPECT_EQ(fewer.sequences[i].tokens, all.sequences[i].tokens) << i;
  }
}

std::vector<int64_t> lengths_of(const PackedTokens& batch) {
  std::vector<int64_t> lengths;
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    lengths.push_back(batch.cu_seqlens[s + 1] - batch.cu_seqlens[s]);
  }
  return lengths;
}

TEST(Bf16OnGpus, GeneratesTheSameTokensOfLongContextsBesideOthersAloneAndPreempted) {
  Architecture a = parallel::four_layers("plain");
  a.max_positions = kManyPositions;
  a.head_dim = 8;
  Decoder exact(a, at::kDouble);
  parallel::disturb(exact.parameters());
  round_parameters(exact);
  const Decoder gpu = bf16_on_gpu(exact, 0);
  const PackedTokens prompts = long_prompts(a.vocab_size);
  GenerationOptions options{.max_new_tokens = 40, .group_size = 2, .max_batch = 9};
  const auto of = [&](const PackedTokens& some) {
    const std::vector<SamplingKey> keys(static_cast<size_t>(some.n_sequences()));
    return Generator(gpu).generate(some, keys, options);
  };
  const GenerationResult together = of(prompts);
  std::vector<GeneratedSequence> alone;
  for (const at::Tensor& prompt : at::split_with_sizes(prompts.tokens, lengths_of(prompts))) {
    const PackedTokens one = pack_tokens(prompt, std::vector{static_cast<int32_t>(prompt.numel())});
    for (const GeneratedSequence& answer : of(one).sequences) alone.push_back(answer);
  }
  options.max_cache_tokens = least_cache_tokens(prompts.longest(), 340);
  const GenerationResult preempted = of(prompts);
  EXPECT_GT(preempted.preemptions, 0);
  for (size_t i = 0; i < together.sequences.size(); ++i) {
    EXPECT_EQ(together.sequences[i].tokens, alone[i].tokens) << i;
    EXPECT_EQ(together.sequences[i].log_probs, alone[i].log_probs) << i;
    EXPECT_EQ(together.sequences[i].tokens, preempted.sequences[i].tokens) << i;
    EXPECT_EQ(together.sequences[i].log_probs, preempted.sequences[i].log_probs) << i;
  }
}

// Products of bf16 are numbers that fp32 has: a head of fp32 would only add them in another order.
TEST(Bf16OnGpus, HasLogitsThatAreNotRoundedInScoringTrainingAndGeneration) {
  Decoder gpu = bf16_on_gpu(exact_on_cpu({"plain", true}), 0);
  const PackedTokens batch = some_tokens(gpu.architecture().vocab_size);
  const auto wide = [](const at::Tensor& x) { return x.detach().cpu().to(at::kDouble); };
  const at::Tensor head = wide(gpu.parameters().leaf("lm_head.weight"));
  const at::Tensor exact = at::mm(wide(gpu.hidden(batch)), head.t());
  const at::Tensor log_softmax = exact.log_softmax(1);
  EXPECT_GT(distance(exact.to(at::kBFloat16), exact), 1e-3);

  EXPECT_LT(distance(gpu.logits(batch).detach().cpu(), exact), 1e-5);

  std::vector<double> expected;
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    for (int64_t t = batch.cu_seqlens[s]; t + 1 < batch.cu_seqlens[s + 1]; ++t) {
      expected.push_back(log_softmax[t][batch.tokens[t + 1].item<int64_t>()].item<double>());
    }
  }
  const at::Tensor in_training = gpu.log_probs(batch);
  const at::NoGradGuard no_grad;
  for (const at::Tensor& log_probs : {in_training, gpu.log_probs(batch)}) {
    EXPECT_LT((wide(log_probs) - at::tensor(expected, at::kDouble)).abs().max().item<double>(),
              1e-4);
  }
  const std::vector<SamplingKey> keys(static_cast<size_t>(batch.n_sequences()));
  const GenerationResult drawn = Generator(gpu).generate(batch, keys, {.max_new_tokens = 1});
  for (size_t s = 0; s < drawn.sequences.size(); ++s) {
    const GeneratedSequence& answer = drawn.sequences[s];
    const at::Tensor last = log_softmax[batch.cu_seqlens[s + 1] - 1];
    EXPECT_NEAR(answer.log_probs[0], last[answer.tokens[0]].item<double>(), 1e-4);
  }
}

TEST(Bf16OnGpus, ComputesAValueHeadInFp32) {
  Architecture a = parallel::four_layers("plain");
  a.value_head = true;
  Decoder exact(a, at::kDouble);
  parallel::disturb(exact.parameters());
  round_parameters(exact);
  Decoder gpu = bf16_on_gpu(exact, 0);
  const PackedTokens batch = some_tokens(a.vocab_size);
  const auto of = [&](Decoder& decoder) {
    const at::Tensor values = decoder.head_values(batch, decoder.run_stage(batch, {}));
    values.square().sum().backward();
    return std::pair(values.detach().cpu(), decoder.parameters().gradients().cpu());
  };
  const auto [values, gradients] = of(gpu);
  const auto [expected, expected_gradients] = of(exact);
  EXPECT_EQ(values.scalar_type(), at::kFloat);
  EXPECT_LT(distance(values, expected), kBf16);
  EXPECT_LT(distance(gradients, expected_gradients), kBf16);
}

TEST(Bf16OnGpus, ReadsFilesOfHuggingFaceAsACpuStoresThem) {
  for (const auto& entry : std::filesystem::directory_iterator(fixtures())) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    SCOPED_TRACE(entry.path().filename());
    Decoder cpu = load_hf(entry.path(), at::kBFloat16);
    Decoder gpu(cpu.architecture(), at::kBFloat16, c10::Device(c10::kCUDA, 0));
    load_hf_parameters(entry.path(), gpu);
    EXPECT_TRUE(at::equal(gpu.parameters().values().cpu(), cpu.parameters().stored()));
    if (cpu.architecture().value_head) continue;
    const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
    const at::NoGradGuard no_grad;
    EXPECT_LT(distance(gpu.log_probs(batch, 0.7).cpu(), cpu.log_probs(batch, 0.7)), kBf16);
  }
}

TEST(Bf16OnGpus, BeginsByTheSameDrawsAsACpu) {
  const Architecture a = parallel::four_layers("plain");
  Decoder cpu(a, at::kBFloat16), gpu(a, at::kBFloat16, c10::Device(c10::kCUDA, 0));
  cpu.parameters().initialise(7);
  gpu.parameters().initialise(7);
  EXPECT_TRUE(at::equal(gpu.parameters().values().cpu(), cpu.parameters().stored()));
}

TEST(Bf16OnGpus, FixesHowLibTorchComputesThere) {
  const Decoder gpu(parallel::four_layers("plain"), at::kBFloat16, c10::Device(c10::kCUDA, 0));
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_NE(at::globalContext().allowBF16ReductionCuBLAS(),
            at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK);
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
}

}  // namespace
}  // namespace orrery::model
