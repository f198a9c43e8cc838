#include "shared_fields.h"

#include <algorithm>  // all_of, clamp, find
#include <cmath>      // log
#include <vector>

#include "orrery/base/index.h"

namespace orrery::model {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

/// A number of the rope object; absent or null: `fallback`.
double rope_number(ConfigReader& reader, const json& rope, const std::string& prefix,
                   const char* key, double fallback) {
  const auto it = rope.find(key);
  if (it == rope.end() || it->is_null()) return fallback;
  if (it->is_number()) return it->get<double>();
  reader.problem(prefix + key, "a number", *it);
  return fallback;
}

/// Of the angles, for a context `scale` times longer.
double yarn_factor(double scale, double weight) {
  return scale <= 1 ? 1.0 : 0.1 * weight * std::log(scale) + 1.0;
}

void read_yarn(ConfigReader& reader, const json& rope, const std::string& prefix,
               RopeScaling& scaling) {
  const auto number = [&](const char* key, double fallback) {
    return rope_number(reader, rope, prefix, key, fallback);
  };
  const auto or_default = [](double value, double fallback) {
    return value == 0 ? fallback : value;
  };
  scaling.beta_fast = or_default(number("beta_fast", 0), 32);
  scaling.beta_slow = or_default(number("beta_slow", 0), 1);
  const double weight = number("mscale", 0), weight_all = number("mscale_all_dim", 0);
  const double given = number("attention_factor", -1);
  if (given >= 0) {
    scaling.attention_factor = given;
  } else if (weight != 0 && weight_all != 0) {
    scaling.attention_factor =
        yarn_factor(scaling.factor, weight) / yarn_factor(scaling.factor, weight_all);
  } else {
    scaling.attention_factor = yarn_factor(scaling.factor, 1);
  }
  const auto truncate = rope.find("truncate");
  if (truncate == rope.end() || truncate->is_null()) return;
  if (truncate->is_boolean()) {
    scaling.truncate = truncate->get<bool>();
  } else {
    reader.problem(prefix + "truncate", "true or false", *truncate);
  }
}

bool has(const std::vector<bool>& values, bool value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

/// Overwrites `slides` by layer_types. Whether these are names of layers, one a layer.
bool read_layer_types(const json& types, std::vector<bool>& slides) {
  const bool fits = types.is_array() && types.size() == slides.size();
  bool known = fits;
  for (size_t i = 0; fits && i < slides.size(); ++i) {
    known = known && (types[i] == "full_attention" || types[i] == "sliding_attention");
    slides[i] = types[i] == "sliding_attention";
  }
  return known;
}

constexpr const char* kLayerTypes =
    "one of full_attention and (in families with a window) sliding_attention a layer";

}  // namespace

std::vector<bool> one_a_layer(const Architecture& a, const std::function<bool(int64_t)>& rule) {
  std::vector<bool> result;
  for (int64_t layer = 0; layer < std::clamp<int64_t>(a.n_layers, 0, 100'000); ++layer) {
    result.push_back(rule(layer));
  }
  return result;
}

void read_sizes(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  a.hidden_size = reader.integer("hidden_size", defaults.hidden_size);
  a.intermediate_size = reader.integer("intermediate_size", defaults.intermediate_size);
  a.n_layers = reader.integer("num_hidden_layers", defaults.n_layers);
  a.n_heads = reader.integer("num_attention_heads", defaults.n_heads);
  a.n_kv_heads = reader.integer("num_key_value_heads",
                                defaults.n_kv_heads > 0 && !reader.has("num_key_value_heads")
                                    ? defaults.n_kv_heads
                                    : a.n_heads);
  a.head_dim = reader.integer("head_dim", reader.has("head_dim") ? 0 : defaults.head_dim);
  a.max_positions = reader.integer("max_position_embeddings", defaults.max_positions);
  a.norm_eps = reader.number("rms_norm_eps", defaults.norm_eps);
}

void complete_head_dim(ConfigReader& reader, Architecture& a) {
  if (a.head_dim != 0 || a.n_heads <= 0) return;
  a.head_dim = a.hidden_size / a.n_heads;
  if (a.hidden_size % a.n_heads == 0) return;
  reader.problems().push_back(base::concat("hidden_size (", a.hidden_size,
                                           ") is no multiple of num_attention_heads (", a.n_heads,
                                           ") and head_dim is not given"));
}

void read_rope(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  a.rope_theta = reader.number("rope_theta", defaults.rope_theta);
  // transformers prefers rope_scaling where a file has both.
  const char* key = reader.find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters";
  const json* found = reader.find(key);
  if (found == nullptr) return;
  if (!found->is_object()) return reader.problem(key, "an object", *found);
  read_rope_object(reader, *found, key, a);
}

void read_rope_object(ConfigReader& reader, const json& rope, const std::string& key,
                      Architecture& a) {
  const std::string prefix = base::concat(key, ".");
  for (const auto& [name, value] : rope.items()) {
    if (value.is_object())
      reader.problem(prefix + name, "one set of numbers for all layers", value);
  }
  a.rope_theta = rope_number(reader, rope, prefix, "rope_theta", a.rope_theta);
  if (rope_number(reader, rope, prefix, "partial_rotary_factor", 1) != 1) {
    reader.problem(prefix + "partial_rotary_factor", "1", rope["partial_rotary_factor"]);
  }
  json type = "default";
  for (const char* type_key : {"type", "rope_type"}) {
    if (rope.contains(type_key) && !rope[type_key].is_null()) type = rope[type_key];
  }
  if (type == "default") return;
  RopeScaling& scaling = a.rope;
  if (type == "linear") {
    scaling.kind = RopeKind::kLinear;
  } else if (type == "llama3") {
    scaling.kind = RopeKind::kLlama3;
  } else if (type == "yarn") {
    scaling.kind = RopeKind::kYarn;
  } else {
    return reader.problem(prefix + "rope_type", "default, linear, llama3 or yarn", type);
  }
  const double of_model = reader.number("original_max_position_embeddings", 0);
  scaling.original_positions =
      of_model > 0 ? of_model
                   : rope_number(reader, rope, prefix, "original_max_position_embeddings",
                                 static_cast<double>(a.max_positions));
  if (scaling.kind == RopeKind::kLinear) scaling.original_positions = 0;  // not used
  const auto required = [&](const char* name) {
    const double value = rope_number(reader, rope, prefix, name, 0);
    if (!(value > 0)) reader.problem(prefix + name, "a number above 0", rope.value(name, json()));
    return value > 0 ? value : 1;
  };
  const bool has_factor = rope.contains("factor") && !rope["factor"].is_null();
  scaling.factor = !has_factor && scaling.kind == RopeKind::kYarn && scaling.original_positions > 0
                       ? static_cast<double>(a.max_positions) / scaling.original_positions
                       : required("factor");
  if (scaling.kind == RopeKind::kLlama3) {
    scaling.low_frequency_factor = required("low_freq_factor");
    scaling.high_frequency_factor = required("high_freq_factor");
    if (reader.problems().empty() &&
        scaling.low_frequency_factor == scaling.high_frequency_factor) {
      reader.problem(prefix + "high_freq_factor", "another number than low_freq_factor",
                     rope.value("high_freq_factor", json()));
    }
  }
  if (scaling.kind == RopeKind::kYarn) read_yarn(reader, rope, prefix, scaling);
}

int64_t window_field(ConfigReader& reader, int64_t fallback) {
  return reader.integer("sliding_window", reader.has("sliding_window") ? 0 : fallback);
}

int64_t qwen_window(ConfigReader& reader) {
  return reader.flag("use_sliding_window", false) ? window_field(reader, 4096) : 0;
}

void read_qwen_window(ConfigReader& reader, Architecture& a) {
  const int64_t window = qwen_window(reader);
  const int64_t first = reader.integer("max_window_layers", 28);
  read_window(reader, {window, [first](int64_t layer) { return layer >= first; }}, a);
}

void read_window(ConfigReader& reader, const WindowRule& rule, Architecture& a) {
  std::vector<bool> slides =
      one_a_layer(a, [&](int64_t layer) { return rule.window > 0 && rule.slides(layer); });
  if (const json* types = reader.find("layer_types")) {
    const bool known = read_layer_types(*types, slides);
    if (has(slides, true) && rule.window == 0) {
      reader.problem("layer_types", "no sliding_attention without a sliding_window", *types);
    }
    if (!known) reader.problem("layer_types", kLayerTypes, *types);
  }
  const bool all = !has(slides, false), none = !has(slides, true);
  a.sliding_window = none ? 0 : rule.window;
  if (!all && !none) a.sliding_layers = slides;
}

void refuse_window(ConfigReader& reader, const Architecture& a) {
  const json* value = reader.find("use_sliding_window");
  if (value != nullptr && *value != false) reader.problem("use_sliding_window", "false", *value);
  reader.integer("max_window_layers", 28);
  const json* types = reader.find("layer_types");
  if (types == nullptr) return;
  std::vector<bool> slides = one_a_layer(a, [](int64_t) { return false; });
  const bool known = read_layer_types(*types, slides);
  if (!known || has(slides, true)) reader.problem("layer_types", kLayerTypes, *types);
}

ActivationFunction activation_function_of(ConfigReader& reader, const char* key,
                                          const char* fallback) {
  const std::string name = reader.text(key, fallback);
  if (name == "silu" || name == "swish") return ActivationFunction::kSilu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return ActivationFunction::kGeluTanh;
  }
  if (name == "gelu") return ActivationFunction::kGelu;
  if (name == "relu") return ActivationFunction::kRelu;
  reader.problem(key, "silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast or relu", name);
  return ActivationFunction::kSilu;
}

void read_attention_bias(ConfigReader& reader, Architecture& a) {
  a.qkv_bias = a.output_bias = reader.flag("attention_bias", false);
}

void refuse_bias(ConfigReader& reader, const char* key) {
  const json* value = reader.find(key);
  if (value != nullptr && *value != false) reader.problem(key, "false", *value);
}

void refuse_experts(ConfigReader& reader) {
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    if (const json* value = reader.find(key)) reader.problem(key, "absent", *value);
  }
}

void read_qwen_experts(ConfigReader& reader, const ExpertDefaults& defaults, Architecture& a) {
  Experts& e = a.experts;
  e.count = reader.integer("num_experts", "num_local_experts", defaults.count);
  e.per_token = reader.integer("num_experts_per_tok", defaults.per_token);
  e.intermediate_size = reader.integer("moe_intermediate_size", defaults.intermediate_size);
  if (defaults.shared_intermediate_size > 0) {
    e.shared_intermediate_size =
        reader.integer("shared_expert_intermediate_size", defaults.shared_intermediate_size);
  }
  e.normalise = reader.flag("norm_topk_prob", false);
  const int64_t step = std::max<int64_t>(reader.integer("decoder_sparse_step", 1), 1);
  std::vector<bool> layers;
  for (int64_t layer = 0; layer < std::clamp<int64_t>(a.n_layers, 0, 100'000); ++layer) {
    layers.push_back((layer + 1) % step == 0);
  }
  if (const json* dense = reader.find("mlp_only_layers")) {
    const bool is_list = dense->is_array() &&
                         std::all_of(dense->begin(), dense->end(),
                                     [](const json& layer) { return layer.is_number_integer(); });
    if (!is_list) reader.problem("mlp_only_layers", "a list of layer numbers", *dense);
    for (size_t i = 0; is_list && i < dense->size(); ++i) {
      const auto layer = (*dense)[i].get<int64_t>();
      if (layer >= 0 && layer < static_cast<int64_t>(layers.size()))
        layers[base::index(layer)] = false;
    }
  }
  const bool any = std::find(layers.begin(), layers.end(), true) != layers.end();
  if (!any || e.count == 0) {
    e = {};
    return;
  }
  if (std::find(layers.begin(), layers.end(), false) != layers.end()) e.layers = layers;
  e.balance_coefficient = reader.number("router_aux_loss_coef", 0.001);
}

const char* written_name(ActivationFunction function) {
  switch (function) {
    case ActivationFunction::kSilu:
      return "silu";
    case ActivationFunction::kGeluTanh:
      return "gelu_pytorch_tanh";
    case ActivationFunction::kGelu:
      return "gelu";
    case ActivationFunction::kRelu:
      break;
  }
  return "relu";
}

ordered_json written_rope_scaling(const RopeScaling& rope) {
  switch (rope.kind) {
    case RopeKind::kPlain:
      break;
    case RopeKind::kLinear:
      return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", rope.factor}};
    case RopeKind::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", rope.factor},
              {"low_freq_factor", rope.low_frequency_factor},
              {"high_freq_factor", rope.high_frequency_factor},
              {"original_max_position_embeddings", static_cast<int64_t>(rope.original_positions)}};
    case RopeKind::kYarn:
      ordered_json yarn = {
          {"rope_type", "yarn"},
          {"type", "yarn"},
          {"factor", rope.factor},
          {"original_max_position_embeddings", static_cast<int64_t>(rope.original_positions)},
          {"attention_factor", rope.attention_factor},
          {"beta_fast", rope.beta_fast},
          {"beta_slow", rope.beta_slow}};
      if (!rope.truncate) yarn["truncate"] = false;
      return yarn;
  }
  return nullptr;
}

ordered_json common_sizes(const Architecture& a) {
  return {{"hidden_size", a.hidden_size},
          {"intermediate_size", a.intermediate_size},
          {"num_hidden_layers", a.n_layers},
          {"num_attention_heads", a.n_heads},
          {"num_key_value_heads", a.n_kv_heads},
          {"head_dim", a.head_dim},
          {"max_position_embeddings", a.max_positions},
          {"rms_norm_eps", a.norm_eps},
          {"rope_theta", a.rope_theta},
          {"rope_scaling", written_rope_scaling(a.rope)},
          {"hidden_act", written_name(a.activation_function)},
          {"attention_dropout", 0.0}};
}

ordered_json written_window(const Architecture& a) {
  return a.sliding_window > 0 ? ordered_json(a.sliding_window) : ordered_json();
}

ordered_json written_layer_types(const Architecture& a) {
  ordered_json types = ordered_json::array();
  for (int64_t layer = 0; layer < a.n_layers; ++layer) {
    types.push_back(a.window_of(layer) > 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

void write_qwen_window(const Architecture& a, ordered_json& config) {
  config["sliding_window"] = written_window(a);
  config["use_sliding_window"] = a.sliding_window > 0;
}

void write_qwen_layers(const Architecture& a, ordered_json& config) {
  config["max_window_layers"] = a.sliding_window > 0 ? 0 : a.n_layers;
  config["layer_types"] = written_layer_types(a);
}

void write_qwen_experts(const Architecture& a, ordered_json& config) {
  const Experts& e = a.experts;
  config["num_experts"] = e.count;
  config["moe_intermediate_size"] = e.intermediate_size;
  config["norm_topk_prob"] = e.normalise;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = ordered_json::array();
  for (int64_t layer = 0; layer < a.n_layers; ++layer) {
    if (!a.has_experts(layer)) config["mlp_only_layers"].push_back(layer);
  }
}

void write_expert_routing(const Architecture& a, ordered_json& config) {
  config["num_experts_per_tok"] = a.experts.per_token;
  config["router_aux_loss_coef"] = a.experts.balance_coefficient;
  config["output_router_logits"] = false;
}

}  // namespace orrery::model
