// Fields of config.json that several families spell alike. What is not supported goes to the
// reader's problems. Private to src/model.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "family.h"

namespace orrery::model {

/// hidden_size and the others of all families but GPT-2, up to rms_norm_eps.
void read_sizes(ConfigReader& reader, const Defaults& defaults, Architecture& a);
/// After sizes, rope and window: head_dim where the file has none.
void complete_head_dim(ConfigReader& reader, Architecture& a);

/// rope_theta and rope_scaling, or rope_parameters.
void read_rope(ConfigReader& reader, const Defaults& defaults, Architecture& a);
/// One object of rope numbers, under `key` in messages; a.rope_theta and a.rope.
void read_rope_object(ConfigReader& reader, const nlohmann::json& rope, const std::string& key,
                      Architecture& a);

/// One entry a layer, of as many as a sound file has.
std::vector<bool> one_a_layer(const Architecture& a, const std::function<bool(int64_t)>& rule);

/// Of a family whose layers may have a window.
struct WindowRule {
  int64_t window = 0;  // 0: none
  /// Which layers have it where layer_types does not say.
  std::function<bool(int64_t layer)> slides = [](int64_t) { return true; };
};
void read_window(ConfigReader& reader, const WindowRule& rule, Architecture& a);
/// `sliding_window`; absent: `fallback`, null: 0.
int64_t window_field(ConfigReader& reader, int64_t fallback);
/// The same where use_sliding_window asks for it, as Qwen's families do; else 0.
int64_t qwen_window(ConfigReader& reader);
/// A window in the layers from max_window_layers on.
void read_qwen_window(ConfigReader& reader, Architecture& a);
/// Of a family that has none: use_sliding_window and layer_types must not ask for one.
void refuse_window(ConfigReader& reader, const Architecture& a);

/// The name under `key`; absent: `fallback`.
ActivationFunction activation_function_of(ConfigReader& reader, const char* key,
                                          const char* fallback);

/// attention_bias, on all four matmuls of attention.
void read_attention_bias(ConfigReader& reader, Architecture& a);
/// A key that the family's class does not have does nothing there, unless someone's own class
/// reads it: it must be false.
void refuse_bias(ConfigReader& reader, const char* key);

/// Keys of experts that a dense model must not have.
void refuse_experts(ConfigReader& reader);
/// num_experts and the others, as Qwen's families spell them.
struct ExpertDefaults {
  int64_t count, per_token, intermediate_size;
  int64_t shared_intermediate_size;  // 0: no shared expert
};
void read_qwen_experts(ConfigReader& reader, const ExpertDefaults& defaults, Architecture& a);

const char* written_name(ActivationFunction function);
nlohmann::ordered_json written_rope_scaling(const RopeScaling& rope);
/// What read_sizes and read_rope read.
nlohmann::ordered_json common_sizes(const Architecture& a);
/// sliding_window, or null.
nlohmann::ordered_json written_window(const Architecture& a);
/// sliding_window and use_sliding_window, as Qwen's families spell them.
void write_qwen_window(const Architecture& a, nlohmann::ordered_json& config);
/// use_sliding_window, max_window_layers and layer_types, as Qwen's families spell them.
void write_qwen_layers(const Architecture& a, nlohmann::ordered_json& config);
nlohmann::ordered_json written_layer_types(const Architecture& a);
void write_qwen_experts(const Architecture& a, nlohmann::ordered_json& config);
void write_expert_routing(const Architecture& a, nlohmann::ordered_json& config);

}  // namespace orrery::model
