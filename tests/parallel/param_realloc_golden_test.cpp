// What the recorded reference says of parameters that move, as far as this program chooses alike
// (docs/decisions/0503): how many parameters each layer has. Where they go is proven by brute force
// in reallocation_test.cpp.
#include <gtest/gtest.h>

#include <numeric>

#include "golden_file.h"
#include "orrery/model/parameter_table.h"

namespace orrery::parallel {
namespace {

model::Architecture architecture_of(const nlohmann::json& config) {
  model::Architecture a;
  a.family = config.at("kind") == "qwen2" ? model::Family::kQwen2 : model::Family::kLlama;
  a.qkv_bias = config.at("kind") == "qwen2";
  a.vocab_size = config.at("vocab_size");
  a.hidden_size = config.at("hidden_dim");
  a.intermediate_size = config.at("intermediate_dim");
  a.n_layers = config.at("n_layers");
  a.n_heads = config.at("n_q_heads");
  a.n_kv_heads = config.at("n_kv_heads");
  a.head_dim = config.at("head_dim");
  a.tie_embeddings = config.at("tied_embedding");
  a.value_head = config.at("is_critic");
  if (config.at("kind") == "gpt2") {
    a.family = model::Family::kGpt2;
    a.norm = model::NormKind::kLayer;
    a.activation_function = model::ActivationFunction::kGeluTanh;
    a.max_positions = config.at("n_positions");
    a.learned_positions = true;
    a.gated_mlp = false;
    a.qkv_bias = a.output_bias = a.mlp_bias = true;
  }
  return a;
}

TEST(ParamReallocGolden, LayersHaveAsManyParametersAsInTheReference) {
  golden::for_each_case("param_realloc.json", "layer_partition", [](const golden::Case& c) {
    const model::Architecture a = architecture_of(c["config"]);
    const auto last = static_cast<size_t>(a.n_layers) + 1;
    std::vector<int64_t> counts(last + 1);
    for (const model::ParameterSpec& spec : model::parameter_table(a).parameters) {
      // There the last block has the final norm, here the head has it.
      const bool is_final_norm = spec.name.starts_with("model.norm.");
      counts[is_final_norm ? last - 1 : static_cast<size_t>(spec.layer)] += spec.numel;
    }
    const auto expected = golden::integers(c.expect().at("param_counts"));

    if (a.tie_embeddings && !a.value_head) {
      // There a tied head is counted as its own layer too.
      counts[last] = counts[0];
    }
    EXPECT_EQ(counts, expected);
  });
}

TEST(ParamReallocGolden, BuffersAndSendersAreOurOwn) {
  golden::leave_out_section("param_realloc.json", "param_layout",
                            "the flat buffer has no padding and another order (decision 503)");
  golden::leave_out_section("param_realloc.json", "intervals",
                            "rectangles move, not intervals (decision 503)");
  golden::leave_out_section("param_realloc.json", "plan",
                            "senders are balanced over all workers, any two tensor degrees can be "
                            "connected (decision 503)");
}

}  // namespace
}  // namespace orrery::parallel
