// OLMo 2: norms of what the branches give and none of what goes in, norms of q and k over all their
// heads together.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  refuse_window(reader, a);
  complete_head_dim(reader, a);
  a.norm_placement = NormPlacement::kAfter;
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  read_attention_bias(reader, a);
  refuse_bias(reader, "mlp_bias");
  refuse_experts(reader);
  a.qk_norm = a.qk_norm_whole = true;
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["attention_bias"] = a.qkv_bias;
}

}  // namespace

FamilyTraits olmo2_family() {
  return {.family = Family::kOlmo2,
          .model_type = "olmo2",
          .language_class = "Olmo2ForCausalLM",
          .reward_class = "Olmo2ForSequenceClassification",
          .defaults = {.vocab_size = 50304,
                       .hidden_size = 4096,
                       .intermediate_size = 11008,
                       .n_layers = 32,
                       .n_heads = 32,
                       .n_kv_heads = 0,
                       .head_dim = 0,
                       .max_positions = 2048,
                       .norm_eps = 1e-5,
                       .rope_theta = 1e4,
                       .bos_token = -1,
                       .eos_token = 50279,
                       .tie_embeddings = false},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest};
}

}  // namespace orrery::model
