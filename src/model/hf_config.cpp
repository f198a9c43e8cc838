// config.json of a Hugging Face checkpoint -> Architecture. Both key styles: that of transformers 4
// (rope_theta, rope_scaling, sliding_window) and of 5 (rope_parameters, layer_types). A key that is
// absent has the default of its model type; a key that changes the result in a way that the decoder
// does not do is refused by name.
#include "families/family.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/model/architecture.h"

namespace orrery::model {
namespace {

using nlohmann::json;

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

const FamilyTraits& traits_of(ConfigReader& reader, const std::filesystem::path& path) {
  const std::string type = reader.text("model_type", "");
  if (const FamilyTraits* found = find_family(type)) return *found;
  const std::string_view missing = missing_part(type);
  throw ConfigError(
      base::concat(path.string(), ": model_type is not supported"),
      {.expected = family_list(),
       .got = type.empty()      ? "no model_type"
              : missing.empty() ? type
                                : base::concat(type, ", which has ", missing, " (docs/models.md)"),
       .advice = "use a model of one of these families"});
}

/// A classifier of one label is a reward model: one number a token. Reads the class, and refuses
/// one that is not of the family's model_type.
bool has_value_head(ConfigReader& reader, const FamilyTraits& family) {
  const json* names = reader.find("architectures");
  if (names == nullptr) return false;
  if (names->is_array() && names->size() == 1) {
    if (names->front() == family.reward_class) return true;
    if (names->front() == family.language_class) return false;
  }
  reader.problem(
      "architectures",
      base::concat("[\"", family.language_class, "\"] or [\"", family.reward_class, "\"]"), *names);
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
  const FamilyTraits& family = traits_of(reader, config_json);
  const Defaults& defaults = family.defaults;
  refuse_what_changes_the_result(reader);

  Architecture a;
  a.family = family.family;
  a.vocab_size = reader.integer("vocab_size", defaults.vocab_size);
  family.read(reader, defaults, a);
  a.value_head = has_value_head(reader, family);
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
    throw ConfigError(
        base::concat(config_json.string(), " asks for what is not supported"),
        {.expected = base::concat("a decoder of ", family_list(), " (docs/models.md)"),
         .got = text,
         .advice = "use another checkpoint"});
  }
  return a;
}

}  // namespace orrery::model
