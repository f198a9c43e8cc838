// Which kernel multiplies, and that the choice of a model reaches its matrices.
#include "matmul.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/kernels/split_gemm.h"
#include "reference_decoder.h"
#include "shard_weights.h"

namespace orrery::model {
namespace {

using kernels::Amx;

/// What multiplies [m, k] by [k, n] of a type on a processor with tiles.
MatmulKernel kernel_of(Amx amx, int64_t m, int64_t k, int64_t n, at::ScalarType type = at::kFloat) {
  return matmul_kernel(amx, /*has_tiles=*/true, at::empty({m, n}, type), at::empty({m, k}, type),
                       at::empty({k, n}, type));
}

TEST(MatmulKernel, IsThatOfTilesForLargeMatricesOfFp32) {
  EXPECT_EQ(kernel_of(Amx::kAuto, 128, 128, 128), MatmulKernel::kSplitGemm);
  EXPECT_EQ(kernel_of(Amx::kAuto, 8, 128, 2048), MatmulKernel::kLibTorch);
  EXPECT_EQ(kernel_of(Amx::kAuto, 128, 128, 128, at::kDouble), MatmulKernel::kLibTorch);
}

TEST(MatmulKernel, IsLibTorchsWithAmxOff) {
  EXPECT_EQ(kernel_of(Amx::kOff, 128, 128, 128), MatmulKernel::kLibTorch);
}

TEST(MatmulKernel, IsLibTorchsOnAProcessorWithoutTiles) {
  const at::Tensor x = at::empty({128, 128});

  EXPECT_EQ(matmul_kernel(Amx::kAuto, /*has_tiles=*/false, x, x, x), MatmulKernel::kLibTorch);
}

TEST(Matmul, WithAmxOffHasTheBitsOfLibTorch) {
  at::manual_seed(1);
  const at::Tensor a = at::randn({128, 256}), b = at::randn({256, 128});
  at::Tensor sum = at::ones({128, 128});

  multiply_onto(Amx::kOff, sum, a, b);

  EXPECT_TRUE(at::equal(multiplied(Amx::kOff, a, b), at::mm(a, b)));
  EXPECT_TRUE(at::equal(sum, at::ones({128, 128}).addmm_(a, b)));
}

TEST(Matmul, WithTilesHasOtherBits) {
  if (!kernels::has_split_gemm()) GTEST_SKIP() << "SKIPPED: this processor has no AMX";
  at::manual_seed(1);
  const at::Tensor a = at::randn({128, 256}), b = at::randn({256, 128});

  const at::Tensor product = multiplied(Amx::kAuto, a, b);

  EXPECT_FALSE(at::equal(product, at::mm(a, b)));
  EXPECT_TRUE(at::allclose(product, at::mm(a, b), 1e-4, 1e-4));
}

TEST(ShardWeights, HaveTheChoiceOfTheModelInEveryMatrix) {
  Architecture a = small_architecture("llama");
  a.family = Family::kQwen2Moe;
  a.experts = {.count = 3,
               .per_token = 1,
               .intermediate_size = 8,
               .shared_intermediate_size = 8,
               .normalise = true,
               .balance_coefficient = 0,
               .layers = {false, true, false}};
  const ParameterTable table = parameter_table(a, {});
  const at::Tensor flat = at::zeros({table.numel});

  const ShardWeights weights = shard_weights(a, {}, table, flat, Amx::kOff);

  std::vector<const Linear*> all = {&weights.head};
  for (const LayerWeights& layer : weights.layers) {
    all.insert(all.end(), {&layer.qkv, &layer.output, &layer.mlp.up, &layer.mlp.down});
    const ExpertWeights& experts = layer.experts;
    all.insert(all.end(),
               {&experts.router, &experts.shared_gate, &experts.shared.up, &experts.shared.down});
    for (const MlpWeights& expert : experts.own) {
      all.insert(all.end(), {&expert.up, &expert.down});
    }
  }
  int n_matrices = 0;
  for (const Linear* linear : all) {
    if (!linear->defined()) continue;
    ++n_matrices;
    EXPECT_EQ(linear->amx, Amx::kOff);
  }
  EXPECT_EQ(n_matrices, 21);
}

TEST(Decoder, WithAmxOffHasOtherBitsThanWithTiles) {
  if (!kernels::has_split_gemm()) GTEST_SKIP() << "SKIPPED: this processor has no AMX";
  Architecture a = small_architecture("llama");
  a.hidden_size = 128;
  a.intermediate_size = 256;
  const PackedTokens batch = pack(random_sequences({100, 100}, a.vocab_size));
  const auto gradient_with = [&](Amx amx) {
    Decoder decoder(a, at::kFloat);
    decoder.set_amx(amx);
    decoder.parameters().initialise(3);
    decoder.log_probs(batch).sum().backward();
    return decoder.parameters().gradients().clone();
  };

  const at::Tensor with = gradient_with(Amx::kAuto), without = gradient_with(Amx::kOff);

  EXPECT_FALSE(at::equal(with, without));
  EXPECT_TRUE(at::allclose(with, without, 1e-3, 1e-3));
}

}  // namespace
}  // namespace orrery::model
