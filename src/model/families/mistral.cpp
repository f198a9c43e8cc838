// Mistral: Llama with a window in every layer, where the file has one.
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  read_window(reader, {.window = window_field(reader, 4096)}, a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  refuse_bias(reader, "mlp_bias");
  refuse_bias(reader, "attention_bias");
  refuse_experts(reader);
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["sliding_window"] = written_window(a);
}

void complete(Architecture&) {}

}  // namespace

FamilyTraits mistral_family() {
  return {.family = Family::kMistral,
          .model_type = "mistral",
          .language_class = "MistralForCausalLM",
          .reward_class = "MistralForSequenceClassification",
          .defaults = {.vocab_size = 32000,
                       .hidden_size = 4096,
                       .intermediate_size = 14336,
                       .n_layers = 32,
                       .n_heads = 32,
                       .n_kv_heads = 8,
                       .head_dim = 0,
                       .max_positions = 131072,
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
