// Decoder -> a directory that transformers loads.
#include <ATen/ops/cat.h>

#include <array>
#include <cstdio>  // snprintf
#include <map>
#include <nlohmann/json.hpp>
#include <utility>  // move, pair

#include "hf_names.h"
#include "orrery/base/file.h"  // publish_file
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/hf_rewrite.h"  // plan_files, publish_directory
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

std::string class_name(const Architecture& a) {
  const auto stem = [&] {
    switch (a.family) {
      case Family::kMistral:
        return "Mistral";
      case Family::kQwen2:
        return "Qwen2";
      case Family::kQwen3:
        return "Qwen3";
      case Family::kGemma:
        return "Gemma";
      case Family::kGpt2:
        return "GPT2";
      case Family::kMixtral:
        return "Mixtral";
      case Family::kQwen2Moe:
        return "Qwen2Moe";
      case Family::kQwen3Moe:
        return "Qwen3Moe";
      case Family::kLlama:
        break;
    }
    return "Llama";
  }();
  if (a.value_head) return base::concat(stem, "ForSequenceClassification");
  return base::concat(stem, a.family == Family::kGpt2 ? "LMHeadModel" : "ForCausalLM");
}

const char* name(ActivationFunction function, Family family) {
  switch (function) {
    case ActivationFunction::kSilu:
      return "silu";
    case ActivationFunction::kGeluTanh:
      return family == Family::kGpt2 ? "gelu_new" : "gelu_pytorch_tanh";
    case ActivationFunction::kGelu:
      return "gelu";
    case ActivationFunction::kRelu:
      break;
  }
  return "relu";
}

const char* dtype_name(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kDouble ? "float64" : "float32";
}

/// One token as a number, several as a list, none as null.
ordered_json token_field(const std::vector<int64_t>& tokens) {
  if (tokens.empty()) return nullptr;
  if (tokens.size() == 1) return tokens.front();
  return tokens;
}

ordered_json rope_scaling_of(const RopeScaling& rope) {
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

ordered_json gpt2_sizes(const Architecture& a) {
  return {{"n_embd", a.hidden_size},
          {"n_inner", a.intermediate_size},
          {"n_layer", a.n_layers},
          {"n_head", a.n_heads},
          {"n_positions", a.max_positions},
          {"n_ctx", a.max_positions},
          {"layer_norm_epsilon", a.norm_eps},
          {"activation_function", name(a.activation_function, a.family)},
          {"attn_pdrop", 0.0},
          {"embd_pdrop", 0.0},
          {"resid_pdrop", 0.0},
          {"summary_first_dropout", 0.0}};
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
          {"rope_scaling", rope_scaling_of(a.rope)},
          {"hidden_act", name(a.activation_function, a.family)},
          {"attention_dropout", 0.0}};
}

void add_experts(const Architecture& a, ordered_json& config) {
  const Experts& e = a.experts;
  if (a.family == Family::kMixtral) {
    config["num_local_experts"] = e.count;
  } else {
    config["num_experts"] = e.count;
    config["moe_intermediate_size"] = e.intermediate_size;
    config["norm_topk_prob"] = e.normalise;
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = ordered_json::array();
    for (int64_t layer = 0; layer < a.n_layers; ++layer) {
      if (!a.has_experts(layer)) config["mlp_only_layers"].push_back(layer);
    }
  }
  if (a.family == Family::kQwen2Moe) {
    config["shared_expert_intermediate_size"] = e.shared_intermediate_size;
  }
  config["num_experts_per_tok"] = e.per_token;
  config["router_aux_loss_coef"] = e.balance_coefficient;
  config["output_router_logits"] = false;
}

void add_window(const Architecture& a, ordered_json& config) {
  if (a.family == Family::kLlama || a.family == Family::kGemma) return;
  config["sliding_window"] = a.sliding_window > 0 ? ordered_json(a.sliding_window) : nullptr;
  if (a.family == Family::kMistral || a.family == Family::kMixtral) return;
  config["use_sliding_window"] = a.sliding_window > 0;
  if (a.family == Family::kQwen3Moe) return;  // one kind of layer
  config["max_window_layers"] = a.sliding_window > 0 ? 0 : a.n_layers;
  config["layer_types"] = ordered_json::array();
  for (int64_t layer = 0; layer < a.n_layers; ++layer) {
    config["layer_types"].push_back(a.window_of(layer) > 0 ? "sliding_attention"
                                                           : "full_attention");
  }
}

ordered_json config_of(const Decoder& decoder) {
  const Architecture& a = decoder.architecture();
  ordered_json config = {{"architectures", ordered_json::array({class_name(a)})},
                         {"model_type", name(a.family)},
                         {"vocab_size", a.vocab_size}};
  config.update(a.family == Family::kGpt2 ? gpt2_sizes(a) : common_sizes(a));
  config["tie_word_embeddings"] = a.tie_embeddings;
  config["bos_token_id"] = a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token);
  config["eos_token_id"] = token_field(a.eos_tokens);
  config["torch_dtype"] = dtype_name(decoder.parameters().dtype());
  config["use_cache"] = true;
  if (a.value_head) {
    config["num_labels"] = 1;
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
  }
  if (a.family == Family::kGpt2) return config;
  if (a.family == Family::kQwen2Moe) config["qkv_bias"] = a.qkv_bias;
  if (a.family == Family::kLlama || a.family == Family::kQwen3 || a.family == Family::kQwen3Moe ||
      a.family == Family::kGemma) {
    config["attention_bias"] = a.qkv_bias;
  }
  if (a.family == Family::kLlama) config["mlp_bias"] = a.mlp_bias;
  add_window(a, config);
  if (a.family == Family::kMixtral || a.family == Family::kQwen2Moe ||
      a.family == Family::kQwen3Moe) {
    add_experts(a, config);
  }
  return config;
}

ordered_json generation_config_of(const Architecture& a) {
  return {{"_from_model_config", true},
          {"bos_token_id", a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token)},
          {"eos_token_id", token_field(a.eos_tokens)}};
}

/// A tensor of the files and the parameters in it, in order.
struct StoredTensorPlan {
  StoredPlace place;
  std::vector<size_t> parameters = {};
  int64_t bytes = 0;
};

std::vector<StoredTensorPlan> stored_tensors(const Decoder& decoder) {
  std::vector<StoredTensorPlan> plans;
  std::map<std::string, size_t> by_name;
  const ParameterTable& table = decoder.parameters().table();
  for (size_t i = 0; i < table.parameters.size(); ++i) {
    StoredPlace place = stored_place(decoder.architecture(), table.parameters[i]);
    const auto [it, is_new] = by_name.emplace(place.name, plans.size());
    if (is_new) plans.push_back({.place = std::move(place)});
    StoredTensorPlan& plan = plans[it->second];
    plan.parameters.push_back(i);
    plan.bytes += table.parameters[i].numel *
                  static_cast<int64_t>(decoder.parameters().stored().element_size());
  }
  return plans;
}

at::Tensor values_of(const StoredTensorPlan& plan, const Decoder& decoder) {
  std::vector<at::Tensor> parts;
  for (const size_t i : plan.parameters) parts.push_back(decoder.parameters().leaf(i).detach());
  at::Tensor values = parts.size() == 1 ? parts.front() : at::cat(parts);
  values = values.to(decoder.parameters().dtype());
  return plan.place.is_transposed ? values.t().contiguous() : values;
}

std::string file_name(size_t file, size_t n_files) {
  if (n_files == 1) return "model.safetensors";
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "model-%05zu-of-%05zu.safetensors", file + 1, n_files);
  return text.data();
}

void write_weights(const std::filesystem::path& directory, const Decoder& decoder,
                   int64_t max_file_bytes) {
  std::map<std::string, StoredTensorPlan> plans;
  std::vector<std::pair<std::string, int64_t>> sizes;
  int64_t total = 0;
  for (StoredTensorPlan& plan : stored_tensors(decoder)) {
    const std::string name = plan.place.name;
    sizes.emplace_back(name, plan.bytes);
    total += plan.bytes;
    plans.emplace(name, std::move(plan));
  }
  const std::vector<std::vector<std::string>> files = plan_files(sizes, max_file_bytes);
  ordered_json weight_map = ordered_json::object();
  for (size_t file = 0; file < files.size(); ++file) {
    std::vector<NamedTensor> tensors;
    for (const std::string& name : files[file]) {
      tensors.push_back({name, values_of(plans.at(name), decoder)});
      weight_map[name] = file_name(file, files.size());
    }
    write_safetensors(directory / file_name(file, files.size()), tensors);
  }
  if (files.size() == 1) return;
  const ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  base::publish_file(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

void save_hf(const std::filesystem::path& directory, const Decoder& decoder) {
  save_hf(directory, decoder, HfExport{});
}

void save_hf(const std::filesystem::path& directory, const Decoder& decoder,
             const HfExport& options) {
  publish_directory(directory, [&](const std::filesystem::path& folder) {
    write_weights(folder, decoder, options.max_file_bytes);
    base::publish_file(folder / "generation_config.json",
                       generation_config_of(decoder.architecture()).dump(2) + "\n");
    // Its own generation settings, where it has some.
    if (!options.companions_from.empty()) copy_companions(options.companions_from, folder);
    base::publish_file(folder / "config.json", config_of(decoder).dump(2) + "\n");
  });
}

}  // namespace orrery::model
