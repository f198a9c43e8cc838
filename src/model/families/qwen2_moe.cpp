// Qwen2-MoE (Qwen1.5-MoE, Qwen2-57B-A14B): experts beside one that all tokens take.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  const int64_t window = qwen_window(reader);
  const int64_t end = reader.integer("max_window_layers", 28);
  read_window(reader, {window, [end](int64_t layer) { return layer % 2 == 0 && layer < end; }}, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  a.qkv_bias = reader.flag("qkv_bias", true);
  refuse_bias(reader, "mlp_bias");
  refuse_bias(reader, "attention_bias");
  read_qwen_experts(
      reader,
      {.count = 60, .per_token = 4, .intermediate_size = 1408, .shared_intermediate_size = 5632},
      a);
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["qkv_bias"] = a.qkv_bias;
  write_qwen_window(a, config);
  write_qwen_layers(a, config);
  write_qwen_experts(a, config);
  config["shared_expert_intermediate_size"] = a.experts.shared_intermediate_size;
  write_expert_routing(a, config);
}

}  // namespace

FamilyTraits qwen2_moe_family() {
  return {.family = Family::kQwen2Moe,
          .model_type = "qwen2_moe",
          .language_class = "Qwen2MoeForCausalLM",
          .reward_class = "Qwen2MoeForSequenceClassification",
          .defaults = {.vocab_size = 151936,
                       .hidden_size = 2048,
                       .intermediate_size = 5632,
                       .n_layers = 24,
                       .n_heads = 16,
                       .n_kv_heads = 16,
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
