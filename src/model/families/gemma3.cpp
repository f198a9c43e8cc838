// Gemma 3, its text part: norms before and behind each branch, norms of q and k, five layers with
// a window to one without, which turn by different bases. Files of text and images hold it in
// text_config and under language_model.; it is written as gemma3_text.
#include <algorithm>  // max
#include <cmath>      // sqrt

#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// Layers with the window turn by a base of their own and are never scaled.
void read_local_rope(ConfigReader& reader, const json& rope, Architecture& a) {
  const std::string key = "rope_parameters.sliding_attention";
  Architecture local;
  local.rope_theta = a.local_rope_theta;
  local.max_positions = a.max_positions;
  if (!rope.is_object()) return reader.problem(key, "an object", rope);
  read_rope_object(reader, rope, key, local);
  if (local.rope.kind != RopeKind::kPlain) {
    reader.problem(key + ".rope_type", "default", rope.value("rope_type", json()));
  }
  a.local_rope_theta = local.rope_theta;
}

/// rope_theta, rope_local_base_freq and rope_scaling, or rope_parameters of each kind of layer.
void read_ropes(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  a.local_rope_theta = reader.number("rope_local_base_freq", 1e4);
  const json* each = reader.find("rope_parameters");
  if (each == nullptr || !each->is_object() || !each->contains("full_attention")) {
    return read_rope(reader, defaults, a);
  }
  const std::string key = "rope_parameters.full_attention";
  a.rope_theta = defaults.rope_theta;
  const json& global = (*each)["full_attention"];
  if (!global.is_object()) return reader.problem(key, "an object", global);
  read_rope_object(reader, global, key, a);
  if (each->contains("sliding_attention")) read_local_rope(reader, (*each)["sliding_attention"], a);
}

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_ropes(reader, defaults, a);
  const int64_t window = window_field(reader, 4096);
  if (window <= 0) reader.problem("sliding_window", "a number above 0", json(window));
  const int64_t pattern =
      std::max<int64_t>(1, reader.integer("sliding_window_pattern", "_sliding_window_pattern", 6));
  read_window(reader, {window, [pattern](int64_t layer) { return (layer + 1) % pattern != 0; }}, a);
  complete_head_dim(reader, a);
  a.norm = NormKind::kRmsPlusOne;
  a.norm_placement = NormPlacement::kAround;
  a.embedding_scale = std::sqrt(static_cast<double>(a.hidden_size));
  a.query_scale = reader.number("query_pre_attn_scalar", 256);
  const char* key =
      reader.find("hidden_activation") != nullptr ? "hidden_activation" : "hidden_act";
  a.activation_function = activation_function_of(reader, key, "gelu_pytorch_tanh");
  read_attention_bias(reader, a);
  refuse_bias(reader, "mlp_bias");
  refuse_experts(reader);
  a.qk_norm = true;
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["hidden_activation"] = written_name(a.activation_function);
  config["attention_bias"] = a.qkv_bias;
  config["rope_local_base_freq"] = a.local_rope_theta;
  const auto whole = static_cast<int64_t>(a.query_scale);  // transformers wants a whole number
  config["query_pre_attn_scalar"] = static_cast<double>(whole) == a.query_scale
                                        ? ordered_json(whole)
                                        : ordered_json(a.query_scale);
  config["sliding_window"] = a.sliding_window > 0 ? a.sliding_window : a.max_positions;
  config["layer_types"] = written_layer_types(a);
  config["attn_logit_softcapping"] = nullptr;
  config["final_logit_softcapping"] = nullptr;
}

/// The parts of a model of text and images that are not its text part.
bool is_redundant(std::string_view name) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  return name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector.");
}

}  // namespace

FamilyTraits gemma3_family() {
  return {.family = Family::kGemma3,
          .model_type = "gemma3_text",
          .language_class = "Gemma3ForCausalLM",
          .reward_class = "Gemma3TextForSequenceClassification",
          .defaults = {.vocab_size = 262208,
                       .hidden_size = 2304,
                       .intermediate_size = 9216,
                       .n_layers = 26,
                       .n_heads = 8,
                       .n_kv_heads = 4,
                       .head_dim = 256,
                       .max_positions = 131072,
                       .norm_eps = 1e-6,
                       .rope_theta = 1e6,
                       .bos_token = 2,
                       .eos_token = 1,
                       .tie_embeddings = true},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest,
          .is_redundant = is_redundant,
          .wrapper_type = "gemma3",
          .wrapper_class = "Gemma3ForConditionalGeneration",
          .wrapper_prefixes = {"language_model.model.", "model.language_model."},
          .wrapper_head = "language_model.lm_head.weight"};
}

}  // namespace orrery::model
