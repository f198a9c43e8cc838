// Decoder -> a directory that transformers loads.
#include <nlohmann/json.hpp>
#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/file.h"  // publish_file
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

std::string class_name(const Architecture& a) {
  const char* const head = a.value_head ? "ForSequenceClassification" : "ForCausalLM";
  switch (a.family) {
    case Family::kMistral:
      return base::concat("Mistral", head);
    case Family::kQwen2:
      return base::concat("Qwen2", head);
    case Family::kQwen3:
      return base::concat("Qwen3", head);
    case Family::kLlama:
      break;
  }
  return base::concat("Llama", head);
}

/// One token as a number, several as a list, none as null.
ordered_json token_field(const std::vector<int64_t>& tokens) {
  if (tokens.empty()) return nullptr;
  if (tokens.size() == 1) return tokens.front();
  return tokens;
}

ordered_json config_of(const Decoder& decoder) {
  const Architecture& a = decoder.architecture();
  ordered_json config = {
      {"architectures", ordered_json::array({class_name(a)})},
      {"model_type", name(a.family)},
      {"vocab_size", a.vocab_size},
      {"hidden_size", a.hidden_size},
      {"intermediate_size", a.intermediate_size},
      {"num_hidden_layers", a.n_layers},
      {"num_attention_heads", a.n_heads},
      {"num_key_value_heads", a.n_kv_heads},
      {"head_dim", a.head_dim},
      {"max_position_embeddings", a.max_positions},
      {"rms_norm_eps", a.norm_eps},
      {"rope_theta", a.rope_theta},
      {"rope_scaling", nullptr},
      {"hidden_act", "silu"},
      {"attention_dropout", 0.0},
      {"tie_word_embeddings", a.tie_embeddings},
      {"bos_token_id", a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token)},
      {"eos_token_id", token_field(a.eos_tokens)},
      {"torch_dtype", decoder.dtype() == at::kDouble ? "float64" : "float32"},
      {"use_cache", true}};
  if (a.value_head) {
    config["num_labels"] = 1;
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
  }
  if (a.family == Family::kLlama || a.family == Family::kQwen3) config["attention_bias"] = false;
  if (a.family == Family::kLlama) config["mlp_bias"] = false;
  if (a.family == Family::kMistral) {
    config["sliding_window"] = a.sliding_window > 0 ? ordered_json(a.sliding_window) : nullptr;
  }
  if (a.family == Family::kQwen2 || a.family == Family::kQwen3)
    config["use_sliding_window"] = false;
  return config;
}

ordered_json generation_config_of(const Architecture& a) {
  return {{"_from_model_config", true},
          {"bos_token_id", a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token)},
          {"eos_token_id", token_field(a.eos_tokens)}};
}

[[noreturn]] void fail(const std::filesystem::path& directory, const std::string& reason) {
  throw CheckpointError(
      base::concat("cannot write the model to ", directory.string()),
      {.expected = "a new directory", .got = reason, .advice = "check space and permissions"});
}

void write_files(const std::filesystem::path& directory, const Decoder& decoder) {
  std::vector<NamedTensor> tensors;
  const ParameterTable& table = decoder.parameters().table();
  for (size_t i = 0; i < table.parameters.size(); ++i) {
    tensors.push_back({table.parameters[i].name, decoder.parameters().leaf(i).detach()});
  }
  write_safetensors(directory / "model.safetensors", tensors);
  base::publish_file(directory / "generation_config.json",
                     generation_config_of(decoder.architecture()).dump(2) + "\n");
  base::publish_file(directory / "config.json", config_of(decoder).dump(2) + "\n");
}

}  // namespace

void save_hf(const std::filesystem::path& directory, const Decoder& decoder) {
  namespace fs = std::filesystem;
  fs::path beside = directory;
  beside += ".writing";
  fs::path old = directory;
  old += ".replaced";
  try {
    fs::remove_all(beside);
    fs::create_directories(beside);
    write_files(beside, decoder);
    // Two renames: for a moment the name does not exist, but never with half of its files.
    if (fs::exists(directory)) {
      fs::remove_all(old);
      fs::rename(directory, old);
    }
    fs::rename(beside, directory);
    fs::remove_all(old);
  } catch (const fs::filesystem_error& error) {
    fail(directory, error.code().message());
  } catch (const OutputError& error) {
    fail(directory, error.what());
  }
}

}  // namespace orrery::model
