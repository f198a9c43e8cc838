// Mixtral: Mistral with experts, which its files call w1, w2, w3.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

std::string stored_name(const std::string& name) {
  const std::string moved = renamed(name, {{".mlp.", ".block_sparse_moe."}});
  if (moved.find(".experts.") == std::string::npos) return moved;
  return renamed(moved, {{"gate_proj", "w1"}, {"down_proj", "w2"}, {"up_proj", "w3"}});
}

StoredPlace place(const ParameterSpec& spec) {
  return {.name = stored_name(spec.name), .shape = spec.full_shape};
}

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  read_window(reader, {.window = window_field(reader, 0)}, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  refuse_bias(reader, "mlp_bias");
  refuse_bias(reader, "attention_bias");
  a.experts.count = reader.integer("num_local_experts", "num_experts", 8);
  a.experts.per_token = reader.integer("num_experts_per_tok", 2);
  a.experts.intermediate_size = a.intermediate_size;
  a.experts.normalise = true;
  a.experts.balance_coefficient = reader.number("router_aux_loss_coef", 0.001);
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["sliding_window"] = written_window(a);
  config["num_local_experts"] = a.experts.count;
  write_expert_routing(a, config);
}

}  // namespace

FamilyTraits mixtral_family() {
  return {.family = Family::kMixtral,
          .model_type = "mixtral",
          .language_class = "MixtralForCausalLM",
          .reward_class = "MixtralForSequenceClassification",
          .defaults = {.vocab_size = 32000,
                       .hidden_size = 4096,
                       .intermediate_size = 14336,
                       .n_layers = 32,
                       .n_heads = 32,
                       .n_kv_heads = 8,
                       .head_dim = 0,
                       .max_positions = 131072,
                       .norm_eps = 1e-5,
                       .rope_theta = 1e6,
                       .bos_token = 1,
                       .eos_token = 2,
                       .tie_embeddings = false},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest,
          .place = place};
}

}  // namespace orrery::model
