// Qwen2, Qwen2.5 and the R1 distills of them: biases of q, k and v; a window in the upper layers
// where use_sliding_window asks for it.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  read_qwen_window(reader, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  a.qkv_bias = true;
  refuse_bias(reader, "mlp_bias");
  refuse_bias(reader, "attention_bias");
  refuse_experts(reader);
}

void write_rest(const Architecture& a, ordered_json& config) {
  write_qwen_window(a, config);
  write_qwen_layers(a, config);
}

void complete(Architecture& a) { a.qkv_bias = true; }

}  // namespace

FamilyTraits qwen2_family() {
  return {.family = Family::kQwen2,
          .model_type = "qwen2",
          .language_class = "Qwen2ForCausalLM",
          .reward_class = "Qwen2ForSequenceClassification",
          .defaults = {.vocab_size = 151936,
                       .hidden_size = 4096,
                       .intermediate_size = 22016,
                       .n_layers = 32,
                       .n_heads = 32,
                       .n_kv_heads = 32,
                       .head_dim = 0,
                       .max_positions = 32768,
                       .norm_eps = 1e-6,
                       .rope_theta = 1e4,
                       .bos_token = -1,
                       .eos_token = -1,
                       .tie_embeddings = false},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest,
          .complete = complete};
}

}  // namespace orrery::model
