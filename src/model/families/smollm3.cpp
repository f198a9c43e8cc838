// SmolLM3: Llama, but every fourth layer has no positions at all.
#include <algorithm>  // find, max

#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// no_rope_layers has 1 for a layer with positions and 0 for one without; absent: every
/// no_rope_layer_interval-th layer is without.
std::vector<bool> unrotated_layers(ConfigReader& reader, const Architecture& a) {
  const int64_t interval = std::max<int64_t>(1, reader.integer("no_rope_layer_interval", 4));
  const json* given = reader.find("no_rope_layers");
  if (given == nullptr) {
    return one_a_layer(a, [&](int64_t layer) { return (layer + 1) % interval == 0; });
  }
  std::vector<bool> layers;
  for (size_t i = 0; given->is_array() && i < given->size(); ++i) {
    const json& rotated = (*given)[i];
    if (rotated == 0 || rotated == 1) layers.push_back(rotated == 0);
  }
  if (!given->is_array() || layers.size() != given->size()) {
    reader.problem("no_rope_layers", "0 or 1 for each layer", *given);
  }
  return layers;
}

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  std::vector<bool> unrotated = unrotated_layers(reader, a);
  const int64_t window = reader.flag("use_sliding_window", false) ? window_field(reader, 0) : 0;
  read_window(reader,
              {window,
               [&](int64_t layer) {
                 const auto at = static_cast<size_t>(layer);
                 return at < unrotated.size() && unrotated[at];
               }},
              a);
  complete_head_dim(reader, a);
  a.activation_function = activation_function_of(reader, "hidden_act", "silu");
  a.mlp_bias = reader.flag("mlp_bias", false);
  read_attention_bias(reader, a);
  refuse_experts(reader);
  const bool any = std::find(unrotated.begin(), unrotated.end(), true) != unrotated.end();
  if (any) a.unrotated_layers = std::move(unrotated);
}

/// What transformers takes for an absent pad_token_id, and refuses in a smaller vocabulary.
constexpr int64_t kDefaultPadToken = 128004;

void write_rest(const Architecture& a, ordered_json& config) {
  if (a.vocab_size <= kDefaultPadToken) config["pad_token_id"] = nullptr;
  config["attention_bias"] = a.qkv_bias;
  config["mlp_bias"] = a.mlp_bias;
  config["no_rope_layers"] = ordered_json::array();
  for (int64_t layer = 0; layer < a.n_layers; ++layer) {
    config["no_rope_layers"].push_back(a.rotary_of(layer) == Rotary::kNone ? 0 : 1);
  }
  config["sliding_window"] = written_window(a);
  config["use_sliding_window"] = a.sliding_window > 0;
  config["layer_types"] = written_layer_types(a);
}

}  // namespace

FamilyTraits smollm3_family() {
  return {.family = Family::kSmolLm3,
          .model_type = "smollm3",
          .language_class = "SmolLM3ForCausalLM",
          .reward_class = "SmolLM3ForSequenceClassification",
          .defaults = {.vocab_size = 128256,
                       .hidden_size = 2048,
                       .intermediate_size = 11008,
                       .n_layers = 36,
                       .n_heads = 16,
                       .n_kv_heads = 4,
                       .head_dim = 0,
                       .max_positions = 32768,
                       .norm_eps = 1e-6,
                       .rope_theta = 2e6,
                       .bos_token = 128000,
                       .eos_token = 128001,
                       .tie_embeddings = true},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest};
}

}  // namespace orrery::model
