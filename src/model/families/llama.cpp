// Llama 2 and 3, and what is built like them: Yi, SmolLM2, the R1 distills of Llama.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  refuse_window(reader, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  a.mlp_bias = reader.flag("mlp_bias", false);
  read_attention_bias(reader, a);
  refuse_experts(reader);
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["attention_bias"] = a.qkv_bias;
  config["mlp_bias"] = a.mlp_bias;
}

void complete(Architecture&) {}

}  // namespace

FamilyTraits llama_family() {
  return {.family = Family::kLlama,
          .model_type = "llama",
          .language_class = "LlamaForCausalLM",
          .reward_class = "LlamaForSequenceClassification",
          .defaults = {.vocab_size = 32000,
                       .hidden_size = 4096,
                       .intermediate_size = 11008,
                       .n_layers = 32,
                       .n_heads = 32,
                       .n_kv_heads = 0,
                       .head_dim = 0,
                       .max_positions = 2048,
                       .norm_eps = 1e-6,
                       .rope_theta = 1e4,
                       .bos_token = 1,
                       .eos_token = 2,
                       .tie_embeddings = false},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest,
          .complete = complete};
}

}  // namespace orrery::model
