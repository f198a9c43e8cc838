// Qwen3-MoE (30B-A3B and the like): Qwen3 with experts; one kind of layer.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  const int64_t window = qwen_window(reader);
  reader.integer("max_window_layers", 28);
  read_window(reader, {.window = window}, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  read_attention_bias(reader, a);
  refuse_bias(reader, "mlp_bias");
  read_qwen_experts(
      reader,
      {.count = 128, .per_token = 8, .intermediate_size = 768, .shared_intermediate_size = 0}, a);
  a.qk_norm = true;
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["attention_bias"] = a.qkv_bias;
  write_qwen_window(a, config);
  write_qwen_experts(a, config);
  write_expert_routing(a, config);
}

}  // namespace

FamilyTraits qwen3_moe_family() {
  return {.family = Family::kQwen3Moe,
          .model_type = "qwen3_moe",
          .language_class = "Qwen3MoeForCausalLM",
          .reward_class = "Qwen3MoeForSequenceClassification",
          .defaults = {.vocab_size = 151936,
                       .hidden_size = 2048,
                       .intermediate_size = 6144,
                       .n_layers = 24,
                       .n_heads = 32,
                       .n_kv_heads = 4,
                       .head_dim = 0,
                       .max_positions = 32768,
                       .norm_eps = 1e-6,
                       .rope_theta = 1e4,
                       .bos_token = -1,
                       .eos_token = -1,
                       .tie_embeddings = false},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest};
}

}  // namespace orrery::model
