// What the simulated device counts: nothing about time, but what a GPU and its host have to do.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <vector>

#include "decoders_on_gpus.h"
#include "orrery/parallel/train_engine.h"
#include "orrery/worker/model_device.h"
#include "streams.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

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

TEST(CountsOnGpus, ScoresWithoutWaitingForTheDevice) {
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

TEST(CountsOnGpus, ADecodingStepWaitsOnceForItsTokens) {
  const Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
  const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
  const std::vector<SamplingKey> keys(static_cast<size_t>(prompts.n_sequences()));
  Generator generator(gpu);
  const auto of = [&](int64_t n_tokens) {
    GenerationOptions options;
    options.max_new_tokens = n_tokens;
    return counts_of([&] { generator.generate(prompts, keys, options); });
  };
  of(2);  // memory is there
  const simulated_gpu::Counters step = of(4) - of(3);
  tell("a decoding step of 4 layers, 5 sequences", step);
  EXPECT_EQ(step.host_waits, 1);
  EXPECT_EQ(step.copies_to_host, 1);
  EXPECT_EQ(step.bytes_to_host, 5 * 4 * 8);  // token, two log-probabilities, room for the entropy
  EXPECT_EQ(step.kernels, 4 * 10 + 6);       // 10 a layer; embedding, norm, head, 3 of the draw
  EXPECT_EQ(step.copies_to_device, 7);
  EXPECT_EQ(step.bytes_to_device, 380);
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
