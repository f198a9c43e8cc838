// Generation on a GPU that is one step ahead of its host (src/model/decode_ahead.h): the tokens of
// the CPU whatever ends, joins or is preempted meanwhile, and what the host does for a step.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "decode_ahead.h"
#include "decoders_on_gpus.h"
#include "generation_weights.h"
#include "orrery/base/index.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/model/generator.h"
#include "step_graphs.h"
#include "streams.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

std::vector<SamplingKey> keys_for(const PackedTokens& prompts) {
  std::vector<SamplingKey> keys(static_cast<size_t>(prompts.n_sequences()));
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = {.seed = 5, .step = 1, .sample = i};
  return keys;
}

GenerationResult answers(const Decoder& decoder, const PackedTokens& prompts,
                         const GenerationOptions& options,
                         const GenerationListener& listener = {}) {
  return Generator(decoder).generate(prompts, keys_for(prompts), options, listener);
}

void expect_same_answers(const GenerationResult& got, const GenerationResult& expected) {
  ASSERT_EQ(got.sequences.size(), expected.sequences.size());
  for (size_t i = 0; i < got.sequences.size(); ++i) {
    const GeneratedSequence &a = got.sequences[i], &b = expected.sequences[i];
    ASSERT_EQ(a.tokens, b.tokens) << i;
    EXPECT_EQ(a.finish, b.finish) << i;
    for (size_t t = 0; t < a.tokens.size(); ++t) {
      EXPECT_NEAR(a.log_probs[t], b.log_probs[t], 1e-9);
      EXPECT_NEAR(a.sampling_log_probs[t], b.sampling_log_probs[t], 1e-9);
    }
    ASSERT_EQ(a.entropies.size(), b.entropies.size());
    for (size_t t = 0; t < a.entropies.size(); ++t) {
      EXPECT_NEAR(a.entropies[t], b.entropies[t], 1e-9);
    }
  }
}

/// Tokens that a seventh of all draws gives, more or less.
std::vector<int64_t> some_stop_ids(const Decoder& decoder) {
  std::vector<int64_t> ids;
  for (int64_t id = 3; id < decoder.architecture().vocab_size; id += 7) ids.push_back(id);
  return ids;
}

TEST(GenerationOnGpus, DrawsTheTokensOfTheCpuWhateverTheOptions) {
  const Decoder cpu = on_cpu("plain", at::kDouble), gpu = on_gpu(cpu, 0);
  const PackedTokens prompts = some_tokens(cpu.architecture().vocab_size);
  const std::vector<int64_t> stop_ids = some_stop_ids(cpu);
  const GenerationOptions cases[] = {
      {.max_new_tokens = 1},
      {.max_new_tokens = 2, .group_size = 2},
      {.max_new_tokens = 30, .group_size = 3, .stop_ids = stop_ids},
      {.max_new_tokens = 30, .group_size = 3, .stop_ids = stop_ids, .max_batch = 1},
      {.max_new_tokens = 30, .group_size = 3, .stop_ids = stop_ids, .max_batch = 5},
      {.max_new_tokens = 30, .min_new_tokens = 9, .stop_ids = stop_ids, .max_batch = 3},
      {.max_new_tokens = 40, .greedy = true, .stop_ids = {stop_ids[0]}, .measure_entropy = true},
      {.max_new_tokens = 20, .temperature = 0.6, .top_p = 0.9, .top_k = 12, .group_size = 2},
      {.max_new_tokens = 20, .never_ids = {1, 2, 4}, .max_batch = 2, .measure_entropy = true},
  };
  for (const GenerationOptions& options : cases) {
    SCOPED_TRACE(testing::Message() << "case " << &options - cases);
    const GenerationResult expected = answers(cpu, prompts, options);
    const GenerationResult got = answers(gpu, prompts, options);
    expect_same_answers(got, expected);
    EXPECT_EQ(got.decoded_tokens, expected.decoded_tokens) << "tokens of steps too many are none";
    EXPECT_EQ(got.prefilled_tokens, expected.prefilled_tokens);
  }
}

TEST(GenerationOnGpus, ServesRandomLoadsWithRandomRoomAsTheCpuDoes) {
  const Decoder cpu = on_cpu("plain", at::kDouble), gpu = on_gpu(cpu, 0);
  const int64_t vocab_size = cpu.architecture().vocab_size;
  uint64_t state = 1;
  const auto random = [&](int64_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<int64_t>(state >> 33U) % below;
  };
  int64_t preemptions = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<int32_t> lengths;
    for (int64_t i = 0; i < 1 + random(5); ++i) {
      lengths.push_back(static_cast<int32_t>(1 + random(round % 3 == 0 ? 4 : 30)));
    }
    int64_t n_tokens = 0;
    for (const int32_t length : lengths) n_tokens += length;
    const PackedTokens prompts =
        pack_tokens((at::arange(n_tokens) * 7 + round) % vocab_size, lengths);
    GenerationOptions options{.max_new_tokens = 1 + random(40),
                              .group_size = 1 + random(round % 4 == 0 ? 8 : 3),
                              .max_batch = 1 + random(9)};
    if (round % 2 == 0) options.stop_ids = some_stop_ids(cpu);
    const GenerationResult expected = answers(cpu, prompts, options);
    options.max_cache_tokens =
        least_cache_tokens(prompts.longest(), std::min(prompts.longest() + options.max_new_tokens,
                                                       cpu.architecture().max_positions)) +
        random(48);
    SCOPED_TRACE(testing::Message() << "round " << round << ", " << options.max_cache_tokens);

    const GenerationResult got = answers(gpu, prompts, options);

    expect_same_answers(got, expected);
    EXPECT_EQ(got.preemptions, answers(gpu, prompts, options).preemptions) << "not of time";
    preemptions += got.preemptions;
  }
  EXPECT_GT(preemptions, 10);
}

TEST(GenerationOnGpus, DrawsTheTokensOfTheCpuWhereContextsAreCut) {
  Architecture a = parallel::four_layers("plain");
  a.max_positions = kManyPositions;
  Decoder cpu(a, at::kDouble);
  parallel::disturb(cpu.parameters());
  const Decoder gpu = on_gpu(cpu, 0);
  const PackedTokens prompts = long_prompts(a.vocab_size);
  GenerationOptions options{.max_new_tokens = 40, .group_size = 3};
  const GenerationResult expected = answers(cpu, prompts, options);
  for (const int64_t max_batch : {1, 2, 9}) {
    options.max_batch = max_batch;
    SCOPED_TRACE(max_batch);
    expect_same_answers(answers(gpu, prompts, options), expected);
  }
  options.max_cache_tokens = least_cache_tokens(prompts.longest(), 340);
  const GenerationResult preempted = answers(gpu, prompts, options);
  EXPECT_GT(preempted.preemptions, 0);
  expect_same_answers(preempted, expected);
}

/// The library's matmuls are not, as the simulated one's (torch_matmul.h): the bits of a row
/// follow from how many there are.
TEST(GenerationOnGpus, GivesASequenceTheSameBitsAloneBesideOthersAndPreempted) {
  for (const char* kind : {"plain", "qk_norm", "gpt2"}) {
    SCOPED_TRACE(kind);
    const Decoder gpu = on_gpu(on_cpu(kind, at::kFloat), 0);
    const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
    const std::vector<SamplingKey> keys = keys_for(prompts);
    GenerationOptions options{.max_new_tokens = 24, .group_size = 2, .max_batch = 5};
    const GenerationResult together = answers(gpu, prompts, options);
    options.max_cache_tokens =
        least_cache_tokens(prompts.longest(), prompts.longest() + options.max_new_tokens);
    const GenerationResult preempted = answers(gpu, prompts, options);
    EXPECT_GT(preempted.preemptions, 0);
    options.max_cache_tokens = 0;
    for (size_t p = 0; p < keys.size(); ++p) {
      const int32_t begin = prompts.cu_seqlens[p], length = prompts.cu_seqlens[p + 1] - begin;
      const PackedTokens one =
          pack_tokens(prompts.tokens.narrow(0, begin, length), std::vector{length});
      const GenerationResult alone = Generator(gpu).generate(one, std::vector{keys[p]}, options);
      for (size_t member = 0; member < 2; ++member) {
        const GeneratedSequence& expected = alone.sequences[member];
        for (const GenerationResult* result : {&together, &preempted}) {
          const GeneratedSequence& got = result->sequences[2 * p + member];
          EXPECT_EQ(got.tokens, expected.tokens);
          EXPECT_EQ(got.log_probs, expected.log_probs);
          EXPECT_EQ(got.sampling_log_probs, expected.sampling_log_probs);
        }
      }
    }
  }
}

TEST(GenerationOnGpus, TellsTheListenerOfEachTokenAndAnswerOnce) {
  const Decoder gpu = on_gpu(on_cpu("plain", at::kDouble), 0);
  const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
  std::map<int64_t, std::vector<int64_t>> told, finished;
  const GenerationListener listener{
      .drawn = [&](int64_t sequence, int64_t token) { told[sequence].push_back(token); },
      .finished =
          [&](int64_t sequence, const GeneratedSequence& answer) {
            EXPECT_TRUE(finished.emplace(sequence, answer.tokens).second) << sequence;
          }};
  const GenerationResult result = answers(
      gpu, prompts,
      {.max_new_tokens = 25, .group_size = 2, .stop_ids = some_stop_ids(gpu), .max_batch = 3},
      listener);
  ASSERT_EQ(told.size(), result.sequences.size());
  EXPECT_EQ(told, finished);
  for (const auto& [sequence, tokens] : told) {
    EXPECT_EQ(tokens, result.sequences[base::index(sequence)].tokens);
  }
}

TEST(GenerationOnGpus, EnqueuesAStepBeforeTheTokensOfTheOneBeforeAreKnown) {
  const Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
  const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
  simulated_gpu::Counters before = simulated_gpu::counters();
  std::vector<int64_t> steps, waits;  // when token t of the first sequence is known
  const GenerationListener listener{.drawn = [&](int64_t sequence, int64_t) {
    if (sequence != 0) return;
    const simulated_gpu::Counters now = simulated_gpu::counters();
    steps.push_back(now.copies_to_host - before.copies_to_host - 1);  // but for the prefill's
    if (waits.empty()) before.host_waits = now.host_waits;
    waits.push_back(now.host_waits - before.host_waits);
  }};
  answers(gpu, prompts, {.max_new_tokens = 6}, listener);
  EXPECT_EQ(steps, (std::vector<int64_t>{0, 2, 3, 4, 5, 5}));
  EXPECT_EQ(waits, (std::vector<int64_t>{0, 1, 2, 3, 4, 5})) << "for what is known, no more";
}

TEST(GenerationOnGpus, KeepsTheMemoryOfGraphsToThem) {
  // Its norm of all heads allocates: what a graph was recorded with is written at each launch, so
  // it may be neither another's nor given back to the device meanwhile.
  const Decoder cpu = on_cpu("olmo2", at::kDouble), gpu = on_gpu(cpu, 0);
  const PackedTokens prompts = some_tokens(cpu.architecture().vocab_size);
  std::vector<at::Tensor> others;
  const GenerationListener listener{.between_tokens = [&] {
    for (const int64_t n : {1, 70, 500, 3000}) {
      others.push_back(at::full({n}, 7, gpu.parameters().values().options()));
    }
    c10::getDeviceAllocator(c10::kCUDA)->emptyCache();
  }};
  const GenerationOptions options{.max_new_tokens = 8};
  expect_same_answers(answers(gpu, prompts, options, listener), answers(cpu, prompts, options));
  for (const at::Tensor& other : others) EXPECT_TRUE((other.cpu() == 7).all().item<bool>());
}

/// Two tensor ranks of a model on GPUs, which do not ask each other whether they agree.
void on_two_tensor_ranks(
    const std::function<void(comm::Communicator& cpus, comm::Communicator& gpus, const Decoder& cpu,
                             const Decoder& gpu)>& work) {
  comm::run_as_threads(
      2,
      [&](comm::Communicator& cpus) {
        const auto gpus = comm::make_nccl_communicator(cpus, "tensor", cpus.rank());
        const ShardPlace place{.tensor = cpus.rank(), .n_tensor = 2};
        const Decoder cpu = on_cpu("plain", at::kDouble, {.place = place, .tensor = &cpus});
        work(cpus, *gpus, cpu, on_gpu(cpu, cpus.rank(), {.place = place, .tensor = gpus.get()}));
      },
      {.check_agreement = false});
}

TEST(GenerationOnGpus, TensorRanksLaunchAGraphAStepAndDrawTheTokensOfTheCpu) {
  on_two_tensor_ranks(
      [](comm::Communicator& cpus, comm::Communicator&, const Decoder& cpu, const Decoder& gpu) {
        const PackedTokens prompts = some_tokens(cpu.architecture().vocab_size);
        const GenerationOptions options{
            .max_new_tokens = 30, .group_size = 2, .stop_ids = some_stop_ids(cpu), .max_batch = 4};
        const GenerationResult expected = answers(cpu, prompts, options);
        cpus.barrier();
        const simulated_gpu::Counters before = simulated_gpu::counters();
        cpus.barrier();
        const GenerationResult got = answers(gpu, prompts, options);
        cpus.barrier();
        expect_same_answers(got, expected);
        const int64_t graphs = simulated_gpu::counters().graphs - before.graphs;
        EXPECT_EQ(graphs, 2 * (got.decode_steps - 1)) << "of both; the first step is none";
        cpus.barrier();
      });
}

TEST(GenerationOnGpus, EndsAtTheDeadlineWhereATensorRankHangsBetweenGraphs) {
  std::atomic<bool> is_over = false;
  on_two_tensor_ranks([&](comm::Communicator& cpus, comm::Communicator& gpus, const Decoder&,
                          const Decoder& gpu) {
    gpus.set_deadline(std::chrono::seconds(1));
    int n_steps = 0;
    const GenerationListener listener{.between_tokens = [&] {
      if (cpus.rank() == 0 || ++n_steps < 6) return;
      while (!is_over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      throw std::runtime_error("it hung");
    }};
    std::string error;
    try {
      answers(gpu, some_tokens(gpu.architecture().vocab_size), {.max_new_tokens = 30}, listener);
    } catch (const std::exception& caught) {
      error = caught.what();
    }
    is_over = true;
    const char* const expected =
        cpus.rank() == 0 ? "decoding step on tensor (workers 0,1): a peer missed the deadline"
                         : "it hung";
    EXPECT_NE(error.find(expected), std::string::npos) << error;
  });
}

TEST(StepGraphs, GoOnWithoutOnAllTensorRanksWhereOneCannotRecord) {
  on_two_tensor_ranks(
      [](comm::Communicator& cpus, comm::Communicator& gpus, const Decoder&, const Decoder& gpu) {
        at::Tensor x = at::ones({4}, gpu.parameters().values().options());
        StepGraphs graphs(x.device(), StepGraphs::Use::kFromSecondStep, &gpus);
        cpus.barrier();
        const simulated_gpu::Counters before = simulated_gpu::counters();
        cpus.barrier();
        for (int i = 0; i < 4; ++i) {
          graphs.run(1, [&] {
            gpus.all_reduce(x, comm::ReduceOp::kSum);
            if (cpus.rank() == 1) x[0].item<double>();  // waits
          });
        }
        EXPECT_EQ(x[0].item<double>(), 16);
        cpus.barrier();
        EXPECT_EQ(simulated_gpu::counters().graphs, before.graphs);
        cpus.barrier();
      });
}

TEST(DecodeAhead, ForgetsWhatWasSaidOfASequenceThatLeftBeforeItsFirstStep) {
  const Decoder gpu = on_gpu(on_cpu("plain", at::kDouble), 0);
  const Architecture& a = gpu.architecture();
  const GenerationWeights weights(gpu);
  const at::NoGradGuard no_grad;
  const kernels::SamplingRule rule{.greedy = true};
  const auto first_draw = [&](bool has_predecessor) {
    const at::TensorOptions options = gpu.parameters().values().options();
    GenerationPass pass(gpu, weights, MatmulRows::on_gpu(2), /*max_rows=*/2, /*max_sequences=*/2,
                        /*max_context=*/16);
    PagePool pages(options, a.n_layers, 4, kernels::page_size(a.n_kv_heads, a.head_dim));
    const at::Tensor logits = at::empty({2, a.vocab_size}, options);
    DecodeAhead ahead(pass, pages,
                      {.logits = logits, .rule = rule, .scratch = operators::draw_scratch(logits)},
                      1, StepGraphs(logits.device(), StepGraphs::Use::kNever));
    const std::vector<int32_t> unused{pages.take()}, page{pages.take()};
    if (has_predecessor) ahead.leave(ahead.join(7, 3, {}, unused));
    const int32_t slot = ahead.join(5, 0, {}, page);
    ahead.step(std::vector<int32_t>{slot});
    std::vector<Draw> draws;
    ahead.read(draws);
    return draws.at(0);
  };
  const Draw expected = first_draw(false), got = first_draw(true);
  EXPECT_EQ(got.token, expected.token);
  EXPECT_EQ(got.log_prob, expected.log_prob);
}

TEST(StepGraphs, RunsAStepAsItIsAndThenAsAGraph) {
  const at::Tensor x = at::zeros({4}, at::device(at::kCUDA));
  StepGraphs graphs(x.device(), StepGraphs::Use::kFromSecondStep);
  const simulated_gpu::Counters before = simulated_gpu::counters();
  for (int i = 0; i < 3; ++i) graphs.run(1, [&] { x.add_(1); });
  graphs.run(2, [&] { x.add_(10); });
  EXPECT_EQ(simulated_gpu::counters().graphs - before.graphs, 2);
  EXPECT_EQ(x[0].item<float>(), 13);
}

TEST(StepGraphs, GoesOnWithoutWhereAStepCannotBeRecordedAndSaysSoOnce) {
  const at::Tensor x = at::zeros({4}, at::device(at::kCUDA));
  StepGraphs graphs(x.device(), StepGraphs::Use::kFromSecondStep);
  const simulated_gpu::Counters before = simulated_gpu::counters();
  testing::internal::CaptureStderr();
  for (int i = 0; i < 4; ++i) {
    graphs.run(1, [&] {
      x.add_(1);
      x[0].item<float>();  // waits
    });
  }
  graphs.run(2, [&] { x.add_(10); });
  graphs.run(2, [&] { x.add_(10); });
  const std::string said = testing::internal::GetCapturedStderr();
  const std::string line = "decoding goes on without CUDA graphs";
  EXPECT_NE(said.find(line), std::string::npos) << said;
  EXPECT_EQ(said.find(line), said.rfind(line)) << said;
  EXPECT_EQ(simulated_gpu::counters().graphs, before.graphs);
  EXPECT_EQ(x[0].item<float>(), 24);
}

TEST(MatmulRows, OfStepsAreMaxBatchOrEqualPartsOfIt) {
  const std::map<int64_t, int64_t> expected{{1, 1},     {32, 32},   {256, 256},
                                            {257, 129}, {300, 150}, {1024, 256}};
  for (const auto& [max_batch, rows] : expected) {
    EXPECT_EQ(MatmulRows::on_gpu(max_batch).of_steps, rows) << max_batch;
  }
  const MatmulRows rows = MatmulRows::on_gpu(300);
  EXPECT_EQ(rows.filled_up(1), 150);
  EXPECT_EQ(rows.filled_up(150), 150);
  EXPECT_EQ(rows.filled_up(151), 300);
  EXPECT_EQ(MatmulRows{}.filled_up(7), 7) << "on CPUs";
}

TEST(CountsOnGpus, ALayerIsEightKernelsWhateverMakesItsHeads) {
  for (const char* const kind : {"plain", "bias", "qk_norm"}) {
    const Decoder gpu = on_gpu(on_cpu(kind, at::kFloat), 0);
    const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
    const auto kernels_of = [&](int64_t n_tokens) {
      const int64_t before = simulated_gpu::counters().kernels;
      answers(gpu, prompts, {.max_new_tokens = n_tokens});
      return simulated_gpu::counters().kernels - before;
    };
    EXPECT_EQ(kernels_of(3) - kernels_of(2), 4 * 8 + 8) << kind;
  }
}

// What the simulated device counts: nothing about time, but what a GPU and its host have to do.
TEST(CountsOnGpus, ADecodingStepIsAGraphAndWaitsForTheOneBefore) {
  const Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
  const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
  constexpr int64_t kRows = 8;
  const auto of = [&](int64_t n_tokens) {
    const simulated_gpu::Counters before = simulated_gpu::counters();
    answers(gpu, prompts, {.max_new_tokens = n_tokens, .max_batch = kRows});
    return simulated_gpu::counters() - before;
  };
  of(2);  // memory is there
  const simulated_gpu::Counters two = of(2), three = of(3), four = of(4), five = of(5), six = of(6);

  EXPECT_EQ(three.kernels - two.kernels, 4 * 8 + 8)
      << "8 a layer, embedding, norm, head, 3 of the draw, and what rows read and slots learn";
  EXPECT_EQ(three.copies_on_device, two.copies_on_device);
  EXPECT_EQ(five.kernels, four.kernels);
  EXPECT_EQ(five.graphs - four.graphs, 1);
  EXPECT_EQ(five.host_waits - four.host_waits, 1);
  EXPECT_EQ(five.copies_to_device, four.copies_to_device);
  EXPECT_EQ(five.copies_to_host - four.copies_to_host, 1);
  EXPECT_EQ(five.bytes_to_host - four.bytes_to_host,
            kRows * 4 * 8);  // token, two log-probabilities, room for the entropy
  // The sequence of 12 tokens and 4 of its answer begins a page.
  EXPECT_EQ(six.kernels - five.kernels, 1);
  EXPECT_EQ(six.copies_to_device - five.copies_to_device, 1);
  const int64_t longer_tables = five.bytes_to_device - four.bytes_to_device;  // of rotations
  EXPECT_EQ(six.bytes_to_device - five.bytes_to_device - longer_tables,
            static_cast<int64_t>(sizeof(kernels::GivenPage)));
  std::cout << "a decoding step of 4 layers, 5 sequences: " << three.kernels - two.kernels
            << " kernels in a graph\n";
}

}  // namespace
}  // namespace orrery::model
