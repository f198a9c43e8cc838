#include "orrery/model/architecture.h"

#include <gtest/gtest.h>

#include "mutated_text.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"
#include "orrery/graph/layout.h"
#include "orrery/metrics/flops.h"
#include "reference_decoder.h"
#include "temporary_directory.h"

namespace orrery::model {
namespace {

TEST(Architecture, TakesTheSizesOfAConfiguration) {
  config::ModelConfig config;
  config.architecture = "qwen2";
  config.n_kv_heads = 2;

  const Architecture a = Architecture::from_config(config);

  EXPECT_EQ(a.family, Family::kQwen2);
  EXPECT_TRUE(a.qkv_bias);
  EXPECT_EQ(a.head_dim, 32);
  EXPECT_EQ(a.qkv_size(), 128 + 2 * 64);
  EXPECT_EQ(a.flops_shape().intermediate_size, 344);
}

std::string problem_of(const config::ModelConfig& config) {
  try {
    Architecture::from_config(config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Architecture, NamesEverySizeThatDoesNotFit) {
  config::ModelConfig config;
  config.n_heads = 3;
  config.n_layers = 0;
  config.vocab_size = -1;

  const std::string text = problem_of(config);

  EXPECT_NE(text.find("hidden_size (128) is no multiple of n_heads (3)"), std::string::npos)
      << text;
  EXPECT_NE(text.find("n_heads (3) is no multiple of n_kv_heads (4)"), std::string::npos) << text;
  EXPECT_NE(text.find("n_layers is 0"), std::string::npos) << text;
  EXPECT_NE(text.find("vocab_size is -1"), std::string::npos) << text;
}

TEST(Architecture, HasNoDecoderForARoleWithoutParameters) {
  config::ModelConfig config;
  config.architecture = "none";

  EXPECT_NE(problem_of(config).find("architecture none has no decoder"), std::string::npos);
}

TEST(Layout, OfOneTensorAndPipelineRankIsSupported) {
  EXPECT_TRUE(
      check_layout(small_architecture("llama"), graph::Layout::parse("d2t1p1@0,1")).empty());
}

TEST(Layout, ThatAModelCannotBeCutIntoIsAProblemWithAReason) {
  const Architecture a = small_architecture("llama");  // 4 heads, 2 for keys, 3 layers

  const auto problems = check_layout(a, graph::Layout::parse("d1t3p4"));

  ASSERT_EQ(problems.size(), 4u);
  EXPECT_EQ(problems[0], "n_heads (4) is no multiple of the tensor degree 3");
  EXPECT_EQ(problems[1], "intermediate_size (40) is no multiple of the tensor degree 3");
  EXPECT_EQ(problems[2],
            "n_kv_heads (2) and the tensor degree 3: one must be a multiple of the other");
  EXPECT_EQ(problems[3], "pipeline degree 4 is more than the 3 layers");
  EXPECT_TRUE(check_layout(a, graph::Layout::parse("d2t4p3")).empty());
}

constexpr const char* kMinimal = R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4)";

/// Reads kMinimal with further members.
Architecture read(const std::string& members) {
  const TemporaryDirectory directory;
  directory.write("config.json", base::concat(kMinimal, members, "}"));
  return Architecture::from_hf_config(directory.path() / "config.json");
}

std::string refusal_of(const std::string& members) {
  try {
    read(members);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(HfConfig, GivesAbsentKeysTheirDefaults) {
  const Architecture a = read("");

  EXPECT_EQ(a.n_kv_heads, 4);
  EXPECT_EQ(a.head_dim, 8);
  EXPECT_EQ(a.max_positions, 2048);
  EXPECT_EQ(a.norm_eps, 1e-6);
  EXPECT_EQ(a.rope_theta, 10000);
  EXPECT_FALSE(a.tie_embeddings);
  EXPECT_EQ(a.eos_tokens, std::vector<int64_t>{2});
}

TEST(HfConfig, KnowsTheDefaultsOfEachModelType) {
  const Architecture mistral = read(R"(, "model_type": "mistral", "num_attention_heads": 8)");
  EXPECT_EQ(mistral.sliding_window, 4096);
  EXPECT_EQ(mistral.n_kv_heads, 8);
  EXPECT_EQ(read(R"(, "model_type": "mistral", "num_attention_heads": 8, "sliding_window": null)")
                .sliding_window,
            0);
  const Architecture qwen3 = read(R"(, "model_type": "qwen3", "num_key_value_heads": 2)");
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(read(R"(, "model_type": "qwen2", "num_key_value_heads": 2, "sliding_window": 8,
                   "use_sliding_window": false)")
                .sliding_window,
            0);
}

std::vector<Rotary> rotary_layers(const Architecture& a) {
  std::vector<Rotary> layers;
  for (int64_t layer = 0; layer < a.n_layers; ++layer) layers.push_back(a.rotary_of(layer));
  return layers;
}

TEST(HfConfig, TurnsTheLayersOfGemma3ByTwoBases) {
  const Architecture a = read(R"(, "model_type": "gemma3_text", "sliding_window_pattern": 2,
    "rope_scaling": {"rope_type": "linear", "factor": 8}, "rope_local_base_freq": 500)");

  EXPECT_EQ(rotary_layers(a), (std::vector<Rotary>{Rotary::kLocal, Rotary::kGlobal}));
  EXPECT_EQ(a.local_rope_theta, 500);
  EXPECT_EQ(a.rope_theta, 1e6);
  EXPECT_EQ(a.rope.factor, 8);
  EXPECT_EQ(a.score_scale(), 1.0 / 16);  // of query_pre_attn_scalar 256
  EXPECT_EQ(a.head_dim, 256);
  EXPECT_EQ(a.norm_placement, NormPlacement::kAround);
}

TEST(HfConfig, ReadsTheTextPartOfGemma3) {
  const TemporaryDirectory directory;
  directory.write("config.json", R"({"model_type": "gemma3", "eos_token_id": [1, 106],
    "architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {"hidden_size": 1152},
    "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34}})");

  const Architecture a = Architecture::from_hf_config(directory.path() / "config.json");

  EXPECT_EQ(a.family, Family::kGemma3);
  EXPECT_EQ(a.hidden_size, 2560);
  EXPECT_EQ(a.vocab_size, 262208);
  EXPECT_EQ(a.eos_tokens, (std::vector<int64_t>{1, 106}));
}

TEST(HfConfig, LeavesEveryFourthLayerOfSmolLm3WithoutPositions) {
  const std::string smollm3 = R"(, "model_type": "smollm3", "num_key_value_heads": 2)";
  const auto kNone = Rotary::kNone, kGlobal = Rotary::kGlobal;

  EXPECT_EQ(rotary_layers(read(smollm3 + R"(, "num_hidden_layers": 4)")),
            (std::vector<Rotary>{kGlobal, kGlobal, kGlobal, kNone}));
  EXPECT_EQ(rotary_layers(read(smollm3 + R"(, "no_rope_layers": [0, 1])")),
            (std::vector<Rotary>{kNone, kGlobal}));
}

TEST(HfConfig, NormsTheBranchesOfOlmo2AndAllItsQueriesTogether) {
  const Architecture a = read(R"(, "model_type": "olmo2")");

  EXPECT_FALSE(a.has_norms_before());
  EXPECT_TRUE(a.has_norms_after());
  EXPECT_TRUE(a.qk_norm_whole);
}

TEST(HfConfig, ReadsTheKeyStyleOfTransformers5) {
  const Architecture a = read(R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    "layer_types": ["full_attention", "full_attention"], "dtype": "float32", "head_dim": 16,
    "rope_scaling": null, "eos_token_id": [3, 4], "pad_token_id": null)");

  EXPECT_EQ(a.rope_theta, 5e5);
  EXPECT_EQ(a.head_dim, 16);
  EXPECT_EQ(a.eos_tokens, (std::vector<int64_t>{3, 4}));
}

TEST(HfConfig, TakesEndTokensFromTheGenerationConfigFirst) {
  const TemporaryDirectory directory;
  directory.write("config.json", base::concat(kMinimal, R"(, "eos_token_id": 5})"));
  directory.write("generation_config.json", R"({"eos_token_id": [6, 7]})");

  const Architecture a = Architecture::from_hf_config(directory.path() / "config.json");

  EXPECT_EQ(a.eos_tokens, (std::vector<int64_t>{6, 7}));
}

TEST(HfConfig, RefusesByNameWhatChangesTheResult) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("model_type": "qwen2", "attention_bias": true)", "attention_bias is true"},
      {R"("model_type": "qwen2", "mlp_bias": true)", "mlp_bias is true"},
      {R"("hidden_act": "mish")", "hidden_act is \"mish\""},
      {R"("num_experts": 8)", "num_experts is 8"},
      {R"("rope_parameters": {"full_attention": {"rope_theta": 1}})",
       "rope_parameters.full_attention is"},
      {R"("use_sliding_window": true)", "use_sliding_window is true"},
      {R"("partial_rotary_factor": 0.5)", "partial_rotary_factor is 0.5"},
      {R"("rope_scaling": {"type": "dynamic", "factor": 2})",
       "rope_scaling.rope_type is \"dynamic\""},
      {R"("rope_parameters": {"rope_type": "longrope"})",
       "rope_parameters.rope_type is \"longrope\""},
      {R"("rope_parameters": {"rope_type": "llama3"})", "rope_parameters.factor is null"},
      {R"("layer_types": ["full_attention", "sliding_attention"])", "layer_types is"},
      {R"("quantization_config": {"bits": 4})", "quantization_config is"},
      {R"("architectures": ["LlamaForTokenClassification"])", "architectures is"},
      {R"("architectures": ["LlamaForSequenceClassification"])", "num_labels is 2"},
      {R"("num_key_value_heads": 3)", "n_heads (4) is no multiple of n_kv_heads (3)"},
      {R"("vocab_size": "many")", "vocab_size is \"many\", supported is an integer"},
      {R"("rms_norm_eps": [])", "rms_norm_eps is []"},
      {R"("tie_word_embeddings": 1)", "tie_word_embeddings is 1"},
      {R"("eos_token_id": "end")", "eos_token_id is \"end\""},
      {R"("model_type": "gemma3_text", "final_logit_softcapping": 30)",
       "final_logit_softcapping is 30"},
      {R"("model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_theta": 1e6},
       "sliding_attention": {"rope_type": "linear", "factor": 2}}, "num_key_value_heads": 2)",
       "rope_parameters.sliding_attention.rope_type is \"linear\""},
      {R"("model_type": "gemma3_text", "query_pre_attn_scalar": -1, "num_key_value_heads": 2)",
       "query_scale is -1"},
      {R"("model_type": "olmo2", "mlp_bias": true)", "mlp_bias is true"},
      {R"("model_type": "smollm3", "no_rope_layers": [1, 2])", "no_rope_layers is [1,2]"},
      {R"("model_type": "smollm3", "num_key_value_heads": 2, "no_rope_layers": [0, 1, 1])",
       "no_rope_layers"},
      {R"("model_type": "bert")", "model_type is not supported"},
      {R"("model_type": "gpt_oss")", "gpt_oss, which has attention sinks, and experts in MXFP4"},
      {R"("model_type": "qwen3_next")", "qwen3_next, which has linear attention"},
  };
  for (const auto& [member, expected] : cases) {
    const std::string text = refusal_of(std::string(", ") + member);
    EXPECT_NE(text.find(expected), std::string::npos) << member << " gave: " << text;
  }
}

TEST(HfConfig, NamesAFileThatIsMissingOrNoJson) {
  const TemporaryDirectory directory;
  directory.write("config.json", "{");
  const auto message = [](const std::filesystem::path& path) {
    try {
      Architecture::from_hf_config(path);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };

  EXPECT_NE(message(directory.path() / "config.json").find("is no JSON object"), std::string::npos);
  EXPECT_NE(message(directory.path() / "other.json").find("cannot read"), std::string::npos);
}

TEST(HfConfig, DeepJsonIsRefused) {
  EXPECT_NE(refusal_of(R"(, "rope_scaling": )" + deep_json()).find("nested deeper"),
            std::string::npos);
}

TEST(HfConfig, SizesAreBounded) {
  EXPECT_NE(refusal_of(R"(, "num_hidden_layers": 1000000000)").find("n_layers is 1000000000"),
            std::string::npos);
  EXPECT_NE(refusal_of(R"(, "num_hidden_layers": 9223372036854775807)").find("n_layers"),
            std::string::npos);
  EXPECT_NE(refusal_of(R"(, "vocab_size": 1000000000, "hidden_size": 1000000)")
                .find("parameters, more than any model has"),
            std::string::npos);
}

}  // namespace
}  // namespace orrery::model
