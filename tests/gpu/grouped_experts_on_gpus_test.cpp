// Experts of bf16 in one product each, whose rows only the device knows: the numbers of one expert
// after another, and no wait.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "decoders_on_gpus.h"
#include "experts.h"
#include "grouped_experts.h"
#include "streams.h"

namespace orrery::model {
namespace {

/// Values of bf16 on a GPU, small enough for sums of eight bits.
Decoder small_experts() {
  Decoder cpu = on_cpu("experts", at::kBFloat16);
  cpu.parameters().values().div_(3);
  cpu.parameters().store();
  return on_gpu(cpu, 0);
}

ShardWeights views(Decoder& decoder, const at::Tensor& flat) {
  return shard_weights(decoder.architecture(), {}, decoder.parameters().table(), flat,
                       kernels::Amx::kAuto);
}

/// All experts but those from `first` to `end`, which other tensor ranks would have.
void keep(ExpertWeights& weights, int64_t first, int64_t end) {
  weights.own = {weights.own.begin() + first, weights.own.begin() + end};
  weights.first = first;
}

/// [n, H] of bf16.
at::Tensor some_rows(const Decoder& gpu, int64_t n, double phase) {
  const int64_t width = gpu.architecture().hidden_size;
  return at::arange(n * width, at::kFloat)
      .mul(0.37)
      .add(phase)
      .sin()
      .view({n, width})
      .to(gpu.parameters().values().device(), at::kBFloat16);
}

struct Span {
  int64_t first, end, n_rows;
};
class Experts : public testing::TestWithParam<Span> {};
INSTANTIATE_TEST_SUITE_P(GroupedOnGpus, Experts,
                         testing::Values(Span{0, 9, 40}, Span{0, 9, 1}, Span{0, 4, 40},
                                         Span{4, 9, 40}, Span{8, 9, 3}));

TEST_P(Experts, GiveWhatOneAfterAnotherGives) {
  const auto [first, end, n_rows] = GetParam();
  Decoder gpu = small_experts();
  const at::NoGradGuard no_grad;
  ExpertWeights weights = views(gpu, gpu.parameters().values()).layers[0].experts;
  const at::Tensor rows = some_rows(gpu, n_rows, 0), dy = some_rows(gpu, n_rows, 1);
  const Routing routing = route_rows(gpu.architecture(), weights, rows);
  keep(weights, first, end);
  ASSERT_TRUE(can_group(weights));

  const Architecture& a = gpu.architecture();
  EXPECT_LT(distance(forward_grouped(a, weights, routing, rows).cpu(),
                     forward_in_turn(a, weights, routing, rows).cpu()),
            0.02);

  struct Gradients {
    at::Tensor rows, weights, parameters;
  };
  const auto gradients_by = [&](const auto& backward) {
    const at::Tensor flat = at::zeros({gpu.parameters().numel()}, rows.options().dtype(at::kFloat));
    ExpertWeights dweights = views(gpu, flat).layers[0].experts;
    keep(dweights, first, end);
    at::Tensor dweight = at::zeros_like(routing.weight);
    const at::Tensor drows = backward(a, weights, dweights, routing, rows, dy, dweight);
    return Gradients{drows.cpu(), dweight.cpu(), flat.cpu()};
  };
  const Gradients got = gradients_by(backward_grouped), expected = gradients_by(backward_in_turn);
  EXPECT_GT(expected.parameters.abs().max().item<float>(), 0);
  EXPECT_LT(distance(got.rows, expected.rows), 0.02);
  EXPECT_LT(distance(got.weights, expected.weights), 0.02);
  EXPECT_LT(distance(got.parameters, expected.parameters), 0.02);
}

TEST(GroupedExperts, AreThoseOfBf16WithRowsOfWholePieces) {
  Decoder bf16 = small_experts(), fp32 = on_gpu(on_cpu("experts", at::kFloat), 0);
  EXPECT_TRUE(can_group(views(bf16, bf16.parameters().values()).layers[0].experts));
  EXPECT_FALSE(can_group(views(bf16, bf16.parameters().values()).layers[1].experts)) << "dense";
  EXPECT_FALSE(can_group(views(fp32, fp32.parameters().values()).layers[0].experts));
  Architecture odd = parallel::four_layers("experts");
  odd.experts.intermediate_size = 12;  // 24 bytes
  Decoder gpu(odd, at::kBFloat16, c10::Device(c10::kCUDA, 0));
  EXPECT_FALSE(can_group(views(gpu, gpu.parameters().values()).layers[0].experts));
}

TEST(GroupedExperts, AreComputedWithWithoutWaiting) {
  Decoder gpu = small_experts();
  const PackedTokens batch = some_tokens(gpu.architecture().vocab_size);
  const auto pass = [&] {
    const at::Tensor log_probs = gpu.log_probs(batch);
    log_probs.backward(at::ones_like(log_probs));
    return log_probs;
  };
  pass();  // tables and memory are there
  const int64_t waits = simulated_gpu::counters().host_waits;
  const at::Tensor log_probs = pass();
  EXPECT_EQ(simulated_gpu::counters().host_waits, waits);
  EXPECT_FALSE(log_probs.detach().cpu().isnan().any().item<bool>());
  EXPECT_FALSE(gpu.parameters().gradients().cpu().isnan().any().item<bool>());
}

TEST(GroupedExperts, DecodeInGraphs) {
  const Decoder gpu = small_experts();
  const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
  const std::vector<SamplingKey> keys(static_cast<size_t>(prompts.n_sequences()));
  const auto of = [&](int64_t n_tokens) {
    const simulated_gpu::Counters before = simulated_gpu::counters();
    Generator(gpu).generate(prompts, keys, {.max_new_tokens = n_tokens});
    return simulated_gpu::counters() - before;
  };
  of(2);  // memory is there
  const simulated_gpu::Counters four = of(4), five = of(5);
  EXPECT_EQ(five.graphs - four.graphs, 1);
  EXPECT_EQ(five.host_waits - four.host_waits, 1) << "for the tokens of the step before";
  EXPECT_EQ(five.kernels, four.kernels);
}

}  // namespace
}  // namespace orrery::model
