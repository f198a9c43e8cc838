// config.json of a Hugging Face checkpoint -> Architecture. Both key styles: that of transformers 4
// (rope_theta, rope_scaling, sliding_window) and of 5 (rope_parameters, layer_types). A key that is
// absent has the default of its model type; a key that changes the result in a way that the decoder
// does not do is refused by name.
#include <algorithm>  // all_of, find, clamp
#include <cmath>      // log, sqrt
#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/model/architecture.h"

namespace orrery::model {
namespace {

using nlohmann::json;

/// What transformers takes for an absent key.
struct Defaults {
  Family family;
  const char* class_stem;
  int64_t vocab_size, hidden_size, intermediate_size, n_layers, n_heads;
  int64_t n_kv_heads;  // 0: as many as n_heads
  int64_t head_dim;    // 0: hidden_size / n_heads
  int64_t max_positions;
  double norm_eps;
  double rope_theta;
  int64_t bos_token, eos_token;  // -1: none
  bool tie_embeddings;
};

constexpr Defaults kDefaults[] = {
    {Family::kLlama, "Llama", 32000, 4096, 11008, 32, 32, 0, 0, 2048, 1e-6, 1e4, 1, 2, false},
    {Family::kMistral, "Mistral", 32000, 4096, 14336, 32, 32, 8, 0, 131072, 1e-6, 1e4, 1, 2, false},
    {Family::kQwen2, "Qwen2", 151936, 4096, 22016, 32, 32, 32, 0, 32768, 1e-6, 1e4, -1, -1, false},
    {Family::kQwen3, "Qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 1e4, -1, -1,
     false},
    {Family::kGemma, "Gemma", 256000, 3072, 24576, 28, 16, 16, 256, 8192, 1e-6, 1e4, 2, 1, true},
    {Family::kGpt2, "GPT2", 50257, 768, 0, 12, 12, 0, 0, 1024, 1e-5, 1e4, 50256, 50256, true},
    {Family::kMixtral, "Mixtral", 32000, 4096, 14336, 32, 32, 8, 0, 131072, 1e-5, 1e6, 1, 2, false},
    {Family::kQwen2Moe, "Qwen2Moe", 151936, 2048, 5632, 24, 16, 16, 0, 32768, 1e-6, 1e4, -1, -1,
     false},
    {Family::kQwen3Moe, "Qwen3Moe", 151936, 2048, 6144, 24, 32, 4, 0, 32768, 1e-6, 1e4, -1, -1,
     false},
};

constexpr const char* kSupported =
    "llama, mistral, qwen2, qwen3, gemma, gpt2, mixtral, qwen2_moe or qwen3_moe";

/// Reads fields and collects what is wrong with them.
class ConfigReader {
 public:
  explicit ConfigReader(const json& object) : object_(object) {}

  const json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  /// Also when it is null, which is not the same as absent.
  bool has(const char* key) const { return object_.contains(key); }

  /// Of GPT-2 and others whose files spell a size in one of two ways.
  int64_t integer(const char* key, const char* other_key, int64_t fallback) {
    return find(key) != nullptr ? integer(key, fallback) : integer(other_key, fallback);
  }

  int64_t integer(const char* key, int64_t fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_number_integer()) return value->get<int64_t>();
    problem(key, "an integer", *value);
    return fallback;
  }

  double number(const char* key, double fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_number()) return value->get<double>();
    problem(key, "a number", *value);
    return fallback;
  }

  bool flag(const char* key, bool fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_boolean()) return value->get<bool>();
    problem(key, "true or false", *value);
    return fallback;
  }

  std::string text(const char* key, const char* fallback) {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_string()) return value->get<std::string>();
    problem(key, "a string", *value);
    return fallback;
  }

  void problem(const std::string& key, const std::string& expected, const json& got) {
    problems_.push_back(base::concat(key, " is ", got.dump(), ", supported is ", expected));
  }

  std::vector<std::string>& problems() { return problems_; }

 private:
  const json& object_;
  std::vector<std::string> problems_;
};

/// Beyond it a file is no configuration of a model.
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

json parse_file(const std::filesystem::path& path) {
  std::string text;
  try {
    text = base::read_file(path, kMaxConfigBytes);
  } catch (const OutputError& error) {
    throw ConfigError(base::concat("cannot read ", path.string()),
                      {.expected = "a Hugging Face config.json",
                       .got = error.what(),
                       .advice = "give the directory that holds config.json"});
  }
  auto [parsed, problem] = base::parse_json(text);
  if (!parsed.is_object()) {
    throw ConfigError(base::concat(path.string(), " is no JSON object"),
                      {.expected = "a Hugging Face config.json",
                       .got = problem.empty() ? "another JSON value" : problem,
                       .advice = "download the file again"});
  }
  return std::move(parsed);
}

const Defaults& defaults_of(ConfigReader& reader, const std::filesystem::path& path) {
  const std::string type = reader.text("model_type", "");
  for (const Defaults& defaults : kDefaults) {
    if (type == name(defaults.family)) return defaults;
  }
  throw ConfigError(base::concat(path.string(), ": model_type is not supported"),
                    {.expected = kSupported,
                     .got = type.empty() ? "no model_type" : type,
                     .advice = "use a model of one of these families"});
}

/// A classifier of one label is a reward model: one number a token. Reads the class, and refuses
/// one that is not of the family's model_type.
bool has_value_head(ConfigReader& reader, const Defaults& defaults) {
  const json* names = reader.find("architectures");
  if (names == nullptr) return false;
  const std::string stem = defaults.class_stem;
  const std::string language =
      defaults.family == Family::kGpt2 ? "GPT2LMHeadModel" : stem + "ForCausalLM";
  const std::string classifier = stem + "ForSequenceClassification";
  if (names->is_array() && names->size() == 1) {
    if (names->front() == classifier) return true;
    if (names->front() == language) return false;
  }
  reader.problem("architectures", base::concat("[\"", language, "\"] or [\"", classifier, "\"]"),
                 *names);
  return false;
}

/// transformers takes the number of labels from either key, two where there is none.
int64_t n_labels(ConfigReader& reader) {
  const json* labels = reader.find("id2label");
  const int64_t named =
      labels != nullptr && labels->is_object() ? static_cast<int64_t>(labels->size()) : 2;
  return reader.integer("num_labels", named);
}

/// Keys that must be absent, null, or the neutral value: anything else changes the result.
void refuse_what_changes_the_result(ConfigReader& reader) {
  struct Neutral {
    const char* key;
    json value;
  };
  const Neutral neutrals[] = {
      {"partial_rotary_factor", 1.0},         {"pretraining_tp", 1},
      {"final_logit_softcapping", 0},         {"attn_logit_softcapping", 0},
      {"is_encoder_decoder", false},          {"add_cross_attention", false},
      {"scale_attn_weights", true},           {"scale_attn_by_inverse_layer_idx", false},
      {"use_bidirectional_attention", false},
  };
  for (const Neutral& neutral : neutrals) {
    const json* value = reader.find(neutral.key);
    if (value != nullptr && *value != neutral.value) {
      reader.problem(neutral.key, neutral.value.dump(), *value);
    }
  }
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const json* value = reader.find(key)) reader.problem(key, "no quantization", *value);
  }
}

ActivationFunction activation_function_of(ConfigReader& reader, Family family) {
  const char* key = family == Family::kGpt2 ? "activation_function" : "hidden_act";
  const char* fallback = family == Family::kGpt2    ? "gelu_new"
                         : family == Family::kGemma ? "gelu_pytorch_tanh"
                                                    : "silu";
  // Early Gemma files say "gelu" and mean its tanh form; some have the right name in another key.
  if (family == Family::kGemma && reader.find("hidden_activation") != nullptr) {
    key = "hidden_activation";
  }
  const std::string name = reader.text(key, fallback);
  if (name == "silu" || name == "swish") return ActivationFunction::kSilu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return ActivationFunction::kGeluTanh;
  }
  if (name == "gelu") {
    return family == Family::kGemma ? ActivationFunction::kGeluTanh : ActivationFunction::kGelu;
  }
  if (name == "relu") return ActivationFunction::kRelu;
  reader.problem(key, "silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast or relu", name);
  return ActivationFunction::kSilu;
}

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

/// rope_theta and rope_scaling, or rope_parameters.
void read_rope(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  a.rope_theta = reader.number("rope_theta", defaults.rope_theta);
  // transformers prefers rope_scaling where a file has both.
  const char* key = reader.find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters";
  const json* found = reader.find(key);
  if (found == nullptr) return;
  const std::string prefix = base::concat(key, ".");
  if (!found->is_object()) return reader.problem(key, "an object", *found);
  const json& rope = *found;
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

/// Which layers slide where layer_types does not say: none without a window.
bool slides_by_default(Family family, int64_t layer, int64_t max_window_layers) {
  switch (family) {
    case Family::kQwen2:
    case Family::kQwen3:
      return layer >= max_window_layers;
    case Family::kQwen2Moe:
      return layer % 2 == 0 && layer < max_window_layers;
    default:
      return true;
  }
}

/// sliding_window, use_sliding_window, max_window_layers, layer_types.
void read_sliding_window(ConfigReader& reader, Architecture& a) {
  const Family family = a.family;
  const bool is_qwen = family == Family::kQwen2 || family == Family::kQwen3 ||
                       family == Family::kQwen2Moe || family == Family::kQwen3Moe;
  const bool is_mistral = family == Family::kMistral || family == Family::kMixtral;
  int64_t window = 0;
  if (is_mistral) {
    const int64_t absent = family == Family::kMistral ? 4096 : 0;
    window = reader.integer("sliding_window", reader.has("sliding_window") ? 0 : absent);
  } else if (is_qwen) {
    if (reader.flag("use_sliding_window", false)) {
      window = reader.integer("sliding_window", reader.has("sliding_window") ? 0 : 4096);
    }
  } else if (const json* value = reader.find("use_sliding_window"); value && *value != false) {
    reader.problem("use_sliding_window", "false", *value);
  }
  const int64_t max_window_layers = reader.integer("max_window_layers", 28);
  std::vector<bool> slides;
  for (int64_t layer = 0; layer < std::clamp<int64_t>(a.n_layers, 0, 100'000); ++layer) {
    slides.push_back(window > 0 && slides_by_default(family, layer, max_window_layers));
  }
  if (const json* types = reader.find("layer_types")) {
    const bool fits = types->is_array() && types->size() == slides.size();
    bool known = fits;
    for (size_t i = 0; fits && i < slides.size(); ++i) {
      const json& type = (*types)[i];
      known = known && (type == "full_attention" || type == "sliding_attention");
      slides[i] = type == "sliding_attention";
    }
    const bool any = std::find(slides.begin(), slides.end(), true) != slides.end();
    if (any && window == 0 && (is_qwen || is_mistral)) {
      reader.problem("layer_types", "no sliding_attention without a sliding_window", *types);
    }
    if (!known || (any && !is_qwen && !is_mistral)) {
      reader.problem("layer_types",
                     "one of full_attention and (Mistral, Mixtral, Qwen) sliding_attention a layer",
                     *types);
    }
  }
  const bool all = std::find(slides.begin(), slides.end(), false) == slides.end();
  const bool none = std::find(slides.begin(), slides.end(), true) == slides.end();
  a.sliding_window = none ? 0 : window;
  if (!all && !none) a.sliding_layers = slides;
}

void read_experts(ConfigReader& reader, Architecture& a) {
  Experts& e = a.experts;
  if (a.family == Family::kMixtral) {
    e.count = reader.integer("num_local_experts", "num_experts", 8);
    e.per_token = reader.integer("num_experts_per_tok", 2);
    e.intermediate_size = a.intermediate_size;
    e.normalise = true;
  } else if (a.family == Family::kQwen2Moe || a.family == Family::kQwen3Moe) {
    const bool is_qwen2 = a.family == Family::kQwen2Moe;
    e.count = reader.integer("num_experts", "num_local_experts", is_qwen2 ? 60 : 128);
    e.per_token = reader.integer("num_experts_per_tok", is_qwen2 ? 4 : 8);
    e.intermediate_size = reader.integer("moe_intermediate_size", is_qwen2 ? 1408 : 768);
    if (is_qwen2) {
      e.shared_intermediate_size = reader.integer("shared_expert_intermediate_size", 5632);
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
          layers[static_cast<size_t>(layer)] = false;
      }
    }
    const bool any = std::find(layers.begin(), layers.end(), true) != layers.end();
    if (!any || e.count == 0) {
      e = {};
      return;
    }
    if (std::find(layers.begin(), layers.end(), false) != layers.end()) e.layers = layers;
  } else {
    for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
      if (const json* value = reader.find(key)) reader.problem(key, "absent", *value);
    }
    return;
  }
  e.balance_coefficient = reader.number("router_aux_loss_coef", 0.001);
}

/// Which matmuls have a bias.
void read_biases(ConfigReader& reader, Architecture& a) {
  switch (a.family) {
    case Family::kGpt2:
      a.qkv_bias = a.output_bias = a.mlp_bias = true;
      return;
    case Family::kQwen2:
      a.qkv_bias = true;
      break;
    case Family::kQwen2Moe:
      a.qkv_bias = reader.flag("qkv_bias", true);
      break;
    case Family::kLlama:
      a.mlp_bias = reader.flag("mlp_bias", false);
      [[fallthrough]];
    case Family::kQwen3:
    case Family::kQwen3Moe:
    case Family::kGemma:
      a.qkv_bias = a.output_bias = reader.flag("attention_bias", false);
      break;
    case Family::kMistral:
    case Family::kMixtral:
      break;
  }
  // A key that the family's class does not have does nothing there, unless someone's own class
  // reads it: refused.
  const auto refuse = [&](const char* key, bool is_read) {
    const json* value = reader.find(key);
    if (!is_read && value != nullptr && *value != false) reader.problem(key, "false", *value);
  };
  refuse("mlp_bias", a.family == Family::kLlama);
  refuse("attention_bias", a.family != Family::kMistral && a.family != Family::kMixtral &&
                               a.family != Family::kQwen2 && a.family != Family::kQwen2Moe);
}

std::vector<int64_t> token_ids(ConfigReader& reader, const char* key) {
  const json* value = reader.find(key);
  if (value == nullptr) return {};
  if (value->is_number_integer()) return {value->get<int64_t>()};
  std::vector<int64_t> ids;
  if (value->is_array()) {
    for (const json& id : *value) {
      if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
    }
    if (ids.size() == value->size()) return ids;
  }
  reader.problem(key, "an integer or a list of integers", *value);
  return {};
}

}  // namespace

Architecture Architecture::from_hf_config(const std::filesystem::path& config_json) {
  const json object = parse_file(config_json);
  ConfigReader reader(object);
  const Defaults& defaults = defaults_of(reader, config_json);
  refuse_what_changes_the_result(reader);

  Architecture a;
  a.family = defaults.family;
  a.vocab_size = reader.integer("vocab_size", defaults.vocab_size);
  const bool is_gpt2 = a.family == Family::kGpt2;
  if (is_gpt2) {
    a.hidden_size = reader.integer("n_embd", "hidden_size", defaults.hidden_size);
    a.intermediate_size = reader.integer("n_inner", 4 * a.hidden_size);
    a.n_layers = reader.integer("n_layer", "num_hidden_layers", defaults.n_layers);
    a.n_heads = reader.integer("n_head", "num_attention_heads", defaults.n_heads);
    a.n_kv_heads = a.n_heads;
    a.max_positions =
        reader.integer("n_positions", "max_position_embeddings", defaults.max_positions);
    a.norm_eps = reader.number("layer_norm_epsilon", defaults.norm_eps);
    a.norm = NormKind::kLayer;
    a.learned_positions = true;
    a.gated_mlp = false;
  } else {
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
    read_rope(reader, defaults, a);
    read_sliding_window(reader, a);
  }
  if (a.head_dim == 0 && a.n_heads > 0) {
    a.head_dim = a.hidden_size / a.n_heads;
    if (a.hidden_size % a.n_heads != 0) {
      reader.problems().push_back(base::concat("hidden_size (", a.hidden_size,
                                               ") is no multiple of num_attention_heads (",
                                               a.n_heads, ") and head_dim is not given"));
    }
  }
  if (a.family == Family::kGemma) {
    a.norm = NormKind::kRmsPlusOne;
    a.embedding_scale = std::sqrt(static_cast<double>(a.hidden_size));
  }
  a.activation_function = activation_function_of(reader, a.family);
  read_biases(reader, a);
  read_experts(reader, a);
  a.qk_norm = a.family == Family::kQwen3 || a.family == Family::kQwen3Moe;
  a.value_head = has_value_head(reader, defaults);
  if (a.value_head && n_labels(reader) != 1) {
    reader.problem("num_labels", "1: a reward model gives one number", n_labels(reader));
  }
  // Without a language head there is nothing to tie.
  a.tie_embeddings = reader.flag("tie_word_embeddings", defaults.tie_embeddings) && !a.value_head;
  // A default that is no token of this vocabulary is none.
  const auto token_default = [&](const char* key, int64_t token) {
    return reader.has(key) || token >= a.vocab_size ? -1 : token;
  };
  a.bos_token = reader.integer("bos_token_id", token_default("bos_token_id", defaults.bos_token));
  a.eos_tokens = token_ids(reader, "eos_token_id");
  const int64_t eos_default = token_default("eos_token_id", defaults.eos_token);
  if (eos_default >= 0) a.eos_tokens = {eos_default};

  // generate() of transformers takes the end tokens from generation_config.json where it has some.
  const std::filesystem::path generation = config_json.parent_path() / "generation_config.json";
  if (base::exists(generation)) {
    const json generation_object = parse_file(generation);
    ConfigReader generation_reader(generation_object);
    const std::vector<int64_t> ids = token_ids(generation_reader, "eos_token_id");
    if (!ids.empty()) a.eos_tokens = ids;
  }

  std::vector<std::string> problems = std::move(reader.problems());
  for (std::string& problem : a.problems()) problems.push_back(std::move(problem));
  if (!problems.empty()) {
    std::string text;
    for (const std::string& problem : problems) text += (text.empty() ? "" : "; ") + problem;
    throw ConfigError(base::concat(config_json.string(), " asks for what is not supported"),
                      {.expected = base::concat("a decoder of ", kSupported, " (docs/models.md)"),
                       .got = text,
                       .advice = "use another checkpoint"});
  }
  return a;
}

}  // namespace orrery::model
