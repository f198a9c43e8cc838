#include "orrery/model/parameter_table.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

TEST(ParameterTable, LiesInLayerOrderWithoutGaps) {
  for (const char* kind : kKinds) {
    SCOPED_TRACE(kind);
    const Architecture a = small_architecture(kind);

    const ParameterTable table = parameter_table(a);

    int64_t at = 0, layer = 0;
    for (const ParameterSpec& spec : table.parameters) {
      EXPECT_EQ(spec.offset, at) << spec.name;
      EXPECT_GE(spec.layer, layer) << spec.name;
      at += spec.numel;
      layer = spec.layer;
    }
    EXPECT_EQ(table.numel, at);
    EXPECT_EQ(layer, a.tie_embeddings ? a.n_layers : a.n_layers + 1);
  }
}

TEST(ParameterTable, HasFusedWeightsAsNeighbours) {
  const Architecture a = small_architecture("qwen2");
  const ParameterTable table = parameter_table(a);
  const auto end_of = [&](const char* name) {
    return table.find(name)->offset + table.find(name)->numel;
  };

  EXPECT_EQ(end_of("model.layers.1.self_attn.q_proj.weight"),
            table.find("model.layers.1.self_attn.k_proj.weight")->offset);
  EXPECT_EQ(end_of("model.layers.1.self_attn.k_proj.weight"),
            table.find("model.layers.1.self_attn.v_proj.weight")->offset);
  EXPECT_EQ(end_of("model.layers.1.mlp.gate_proj.weight"),
            table.find("model.layers.1.mlp.up_proj.weight")->offset);
  EXPECT_EQ(table.find("model.layers.3.mlp.up_proj.weight"), nullptr);
}

TEST(ParameterTable, SaysWhichParametersBelongToKeyAndValueHeads) {
  std::vector<std::string> found;
  for (const ParameterSpec& spec : parameter_table(small_architecture("qwen2")).parameters) {
    if (spec.layer == 1 && spec.is_kv) found.push_back(spec.name);
  }

  EXPECT_EQ(found,
            (std::vector<std::string>{
                "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                "model.layers.0.self_attn.k_proj.bias", "model.layers.0.self_attn.v_proj.bias"}));
}

TEST(ParameterTable, SplitsRowsColumnsAndNothingAndDecaysMatricesOnly) {
  const ParameterTable table = parameter_table(small_architecture("qwen2"));
  const auto& q = *table.find("model.layers.0.self_attn.q_proj.weight");
  const auto& bias = *table.find("model.layers.0.self_attn.q_proj.bias");
  const auto& down = *table.find("model.layers.0.mlp.down_proj.weight");
  const auto& norm = *table.find("model.norm.weight");

  EXPECT_EQ(q.split, TensorSplit::kRows);
  EXPECT_EQ(bias.split, TensorSplit::kRows);
  EXPECT_EQ(down.split, TensorSplit::kColumns);
  EXPECT_EQ(norm.split, TensorSplit::kWhole);
  EXPECT_TRUE(q.weight_decay);
  EXPECT_FALSE(bias.weight_decay);
  EXPECT_FALSE(norm.weight_decay);
}

TEST(FlatParameters, HasLeavesAndGradientsThatAreViewsOfTheBuffers) {
  FlatParameters parameters(parameter_table(small_architecture("llama")), at::kFloat);
  const ParameterSpec& spec = *parameters.table().find("lm_head.weight");

  parameters.values().narrow(0, spec.offset, spec.numel).fill_(3);
  EXPECT_FALSE(parameters.has_gradients());
  EXPECT_FALSE(parameters.leaf("lm_head.weight").grad().defined());
  parameters.gradient("lm_head.weight").fill_(2);

  EXPECT_EQ(parameters.leaf("lm_head.weight").min().item<float>(), 3);
  EXPECT_EQ(parameters.leaf("lm_head.weight").sizes(), at::IntArrayRef({37, 24}));
  EXPECT_TRUE(parameters.leaf("lm_head.weight").grad().is_alias_of(parameters.gradients()));
  EXPECT_EQ(parameters.gradients().sum().item<float>(), 2.0F * float(spec.numel));
  parameters.zero_gradients();
  EXPECT_EQ(parameters.leaf("lm_head.weight").grad().abs().sum().item<float>(), 0);
  EXPECT_THROW(parameters.leaf("lm_head"), ShapeError);
}

TEST(FlatParameters, InitialisesByNameWhateverElseIsInTheTable) {
  Architecture tall = small_architecture("llama");
  tall.n_layers = 5;
  tall.tie_embeddings = true;
  FlatParameters a(parameter_table(small_architecture("llama")), at::kFloat);
  FlatParameters b(parameter_table(tall), at::kFloat);
  a.initialise(9);
  b.initialise(9);
  const char* name = "model.layers.1.self_attn.k_proj.weight";

  EXPECT_TRUE(at::equal(a.leaf(name), b.leaf(name)));
  EXPECT_FALSE(at::equal(a.leaf(name), a.leaf("model.layers.2.self_attn.k_proj.weight")));
  const at::Tensor before = a.leaf(name).detach().clone();
  a.initialise(10);
  EXPECT_FALSE(at::equal(a.leaf(name), before));
}

TEST(FlatParameters, DrawsWithTheDeviationOfTheRule) {
  Architecture a = small_architecture("llama");
  a.vocab_size = 4000;
  FlatParameters parameters(parameter_table(a), at::kDouble);

  parameters.initialise(1);

  const at::Tensor embedding = parameters.leaf("model.embed_tokens.weight").detach();
  const double std = parameters.table().find("model.embed_tokens.weight")->init_std;
  // 96,000 draws: the deviation of a sample deviation is std / sqrt(2 n).
  EXPECT_NEAR(embedding.std().item<double>() / std, 1, 0.01);
  EXPECT_NEAR(embedding.mean().item<double>() / std, 0, 0.015);
  EXPECT_EQ(parameters.leaf("model.norm.weight").min().item<double>(), 1);
}

}  // namespace
}  // namespace orrery::model
