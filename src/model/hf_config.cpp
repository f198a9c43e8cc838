// config.json of a Hugging Face checkpoint -> Architecture. Both key styles: that of transformers 4
// (rope_theta, rope_scaling, sliding_window) and of 5 (rope_parameters, layer_types). A key that is
// absent has the default of its model type; a key that changes the result in a way that the decoder
// does not do is refused by name.
#include <algorithm>  // all_of
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/architecture.h"

namespace orrery::model {
namespace {

using nlohmann::json;

/// What transformers takes for an absent key.
struct Defaults {
  Family family;
  int64_t vocab_size, hidden_size, intermediate_size, n_layers, n_heads;
  int64_t n_kv_heads;  // 0: as many as n_heads
  int64_t head_dim;    // 0: hidden_size / n_heads
  int64_t max_positions;
  int64_t sliding_window;  // 0: none
};

constexpr Defaults kDefaults[] = {
    {Family::kLlama, 32000, 4096, 11008, 32, 32, 0, 0, 2048, 0},
    {Family::kMistral, 32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096},
    {Family::kQwen2, 151936, 4096, 22016, 32, 32, 32, 0, 32768, 0},
    {Family::kQwen3, 151936, 4096, 22016, 32, 32, 32, 128, 32768, 0},
};

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

json parse_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) {
    throw ConfigError(base::concat("cannot read ", path.string()),
                      {.expected = "a Hugging Face config.json",
                       .got = "no readable file",
                       .advice = "give the directory that holds config.json"});
  }
  json parsed = json::parse(in, nullptr, false);
  if (!parsed.is_object()) {
    throw ConfigError(
        base::concat(path.string(), " is no JSON object"),
        {.expected = "a Hugging Face config.json",
         .got = parsed.is_discarded() ? "text that is not JSON" : "another JSON value",
         .advice = "download the file again"});
  }
  return parsed;
}

const Defaults& defaults_of(ConfigReader& reader, const std::filesystem::path& path) {
  const std::string type = reader.text("model_type", "");
  for (const Defaults& defaults : kDefaults) {
    if (type == name(defaults.family)) return defaults;
  }
  throw ConfigError(base::concat(path.string(), ": model_type is not supported"),
                    {.expected = "llama, mistral, qwen2 or qwen3",
                     .got = type.empty() ? "no model_type" : type,
                     .advice = "use a model of one of these families"});
}

bool all_end_with(const json& names, std::string_view suffix) {
  return names.is_array() && !names.empty() &&
         std::all_of(names.begin(), names.end(), [&](const json& entry) {
           return entry.is_string() && entry.get<std::string>().ends_with(suffix);
         });
}

/// A classifier of one label is a reward model: one number a token.
bool has_value_head(ConfigReader& reader) {
  const json* names = reader.find("architectures");
  return names != nullptr && all_end_with(*names, "ForSequenceClassification");
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
      {"attention_bias", false},      {"mlp_bias", false},           {"hidden_act", "silu"},
      {"partial_rotary_factor", 1.0}, {"use_sliding_window", false}, {"pretraining_tp", 1},
      {"final_logit_softcapping", 0}, {"attn_logit_softcapping", 0}, {"is_encoder_decoder", false},
      {"add_cross_attention", false},
  };
  for (const Neutral& neutral : neutrals) {
    const json* value = reader.find(neutral.key);
    if (value != nullptr && *value != neutral.value) {
      reader.problem(neutral.key, neutral.value.dump(), *value);
    }
  }
  if (const json* value = reader.find("quantization_config")) {
    reader.problem("quantization_config", "no quantization", *value);
  }
  if (const json* value = reader.find("architectures")) {
    if (!all_end_with(*value, "ForCausalLM") && !has_value_head(reader)) {
      reader.problem("architectures", "a ...ForCausalLM or ...ForSequenceClassification class",
                     *value);
    }
  }
}

double rope_theta_of(ConfigReader& reader) {
  double theta = reader.number("rope_theta", 10000.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* rope = reader.find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) {
      reader.problem(key, "an object", *rope);
      continue;
    }
    for (const char* type_key : {"rope_type", "type"}) {
      const auto type = rope->find(type_key);
      if (type != rope->end() && *type != "default") {
        reader.problem(base::concat(key, ".", type_key), "\"default\"", *type);
      }
    }
    const auto factor = rope->find("partial_rotary_factor");
    if (factor != rope->end() && !factor->is_null() && *factor != 1.0) {
      reader.problem(base::concat(key, ".partial_rotary_factor"), "1", *factor);
    }
    const auto own_theta = rope->find("rope_theta");
    if (own_theta != rope->end() && own_theta->is_number()) theta = own_theta->get<double>();
  }
  return theta;
}

/// The window of all layers, 0 for none. Layers of both kinds in one model are refused.
int64_t sliding_window_of(ConfigReader& reader, const Defaults& defaults) {
  int64_t window = 0;
  if (defaults.family == Family::kMistral) {
    window = reader.integer("sliding_window",
                            reader.has("sliding_window") ? 0 : defaults.sliding_window);
  }
  const json* types = reader.find("layer_types");
  if (types == nullptr) return window;
  const auto all = [&](const char* type) {
    return types->is_array() &&
           std::all_of(types->begin(), types->end(), [&](const json& t) { return t == type; });
  };
  if (all("full_attention")) return 0;
  if (all("sliding_attention") && reader.find("sliding_window") != nullptr) {
    return reader.integer("sliding_window", 0);
  }
  reader.problem("layer_types",
                 "all \"full_attention\", or all \"sliding_attention\" with a window", *types);
  return window;
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
  a.hidden_size = reader.integer("hidden_size", defaults.hidden_size);
  a.intermediate_size = reader.integer("intermediate_size", defaults.intermediate_size);
  a.n_layers = reader.integer("num_hidden_layers", defaults.n_layers);
  a.n_heads = reader.integer("num_attention_heads", defaults.n_heads);
  a.n_kv_heads = reader.integer("num_key_value_heads",
                                defaults.n_kv_heads > 0 && !reader.has("num_key_value_heads")
                                    ? defaults.n_kv_heads
                                    : a.n_heads);
  a.head_dim = reader.integer("head_dim", 0);
  if (a.head_dim == 0 && defaults.head_dim > 0 && !reader.has("head_dim")) {
    a.head_dim = defaults.head_dim;
  }
  if (a.head_dim == 0 && a.n_heads > 0) {
    a.head_dim = a.hidden_size / a.n_heads;
    if (a.hidden_size % a.n_heads != 0) {
      reader.problems().push_back(base::concat("hidden_size (", a.hidden_size,
                                               ") is no multiple of num_attention_heads (",
                                               a.n_heads, ") and head_dim is not given"));
    }
  }
  a.max_positions = reader.integer("max_position_embeddings", defaults.max_positions);
  a.norm_eps = reader.number("rms_norm_eps", 1e-6);
  a.rope_theta = rope_theta_of(reader);
  a.sliding_window = sliding_window_of(reader, defaults);
  a.qkv_bias = a.family == Family::kQwen2;
  a.qk_norm = a.family == Family::kQwen3;
  a.value_head = has_value_head(reader);
  if (a.value_head && n_labels(reader) != 1) {
    reader.problem("num_labels", "1: a reward model gives one number", n_labels(reader));
  }
  // Without a language head there is nothing to tie.
  a.tie_embeddings = reader.flag("tie_word_embeddings", false) && !a.value_head;
  a.bos_token = reader.integer("bos_token_id", -1);
  a.eos_tokens = token_ids(reader, "eos_token_id");

  // generate() of transformers takes the end tokens from generation_config.json where it has some.
  const std::filesystem::path generation = config_json.parent_path() / "generation_config.json";
  if (std::filesystem::exists(generation)) {
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
                      {.expected = "a Llama, Mistral, Qwen2 or Qwen3 decoder",
                       .got = text,
                       .advice = "use another checkpoint"});
  }
  return a;
}

}  // namespace orrery::model
