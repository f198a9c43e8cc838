// Mixtures of experts beyond what the fixtures show (tests/parallel/hf_parity_test.cpp): the
// balance loss in backward, recomputed activations.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "reference_decoder.h"

namespace orrery::model {
namespace {

Architecture small_experts() {
  Architecture a = small_architecture("llama");
  a.family = Family::kQwen2Moe;
  a.n_layers = 2;
  a.experts = {.count = 5,
               .per_token = 2,
               .intermediate_size = 8,
               .shared_intermediate_size = 12,
               .normalise = true,
               .balance_coefficient = 0,
               .layers = {}};
  return a;
}

Decoder random_decoder() {
  Decoder decoder(small_experts(), at::kDouble);
  decoder.parameters().initialise(3);
  at::Tensor values = decoder.parameters().values();
  values.mul_(2);
  return decoder;
}

/// As Decoder::set_balance_weight says, from what the routers chose.
double balance_loss(Decoder& decoder, const PackedTokens& batch) {
  const Architecture& a = decoder.architecture();
  double total = 0;
  for (const Routing& routing : decoder.routings(batch)) {
    for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
      const int64_t first = batch.cu_seqlens[s], n = batch.cu_seqlens[s + 1] - first;
      const at::Tensor counts =
          at::bincount(routing.index.narrow(0, first, n).reshape({-1}), {}, a.experts.count);
      const at::Tensor mean = routing.probabilities.narrow(0, first, n).mean(0);
      total += (counts * mean).sum().item<double>() * static_cast<double>(a.experts.count);
    }
  }
  return total / static_cast<double>(a.n_layers);
}

TEST(BalanceLoss, HasTheGradientOfFiniteDifferences) {
  Decoder decoder = random_decoder();
  const PackedTokens batch = pack(random_sequences({7, 3, 12}, 37));
  at::Tensor values = decoder.parameters().values();
  const at::Tensor direction = at::arange(values.numel(), values.options()).mul(1.7).sin();
  constexpr double kStep = 1e-6;

  decoder.set_balance_weight(0.3);
  (decoder.log_probs(batch) * 0).sum().backward();
  const double slope = (decoder.parameters().gradients() * direction).sum().item<double>();

  const at::NoGradGuard no_grad;
  values.add_(direction, kStep);
  const double above = balance_loss(decoder, batch);
  values.sub_(direction, 2 * kStep);
  const double below = balance_loss(decoder, batch);
  EXPECT_NE(slope, 0);
  EXPECT_NEAR(slope, 0.3 * (above - below) / (2 * kStep), 1e-6 * std::abs(slope) + 1e-7);
}

TEST(Experts, RecomputedLayersGiveTheSameGradients) {
  const PackedTokens batch = pack(random_sequences({7, 3, 12}, 37));
  const auto gradients_with = [&](int64_t n_recomputed) {
    Decoder decoder = random_decoder();
    decoder.set_recomputed_layers(n_recomputed);
    decoder.set_balance_weight(0.1);
    decoder.log_probs(batch).sum().backward();
    return decoder.parameters().gradients().clone();
  };

  const at::Tensor kept = gradients_with(0);
  for (int64_t n = 1; n <= random_decoder().n_layers(); ++n) {
    EXPECT_TRUE(at::equal(gradients_with(n), kept)) << n;
  }
}

}  // namespace
}  // namespace orrery::model
