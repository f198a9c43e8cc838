// GPT-2: a table of positions, layer norms, biases, matmuls the other way round, q, k and v in one
// tensor.
#include <utility>  // swap

#include "orrery/base/text.h"
#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kLayers = "model.layers.";

void complete(Architecture& a) {
  a.norm = NormKind::kLayer;
  a.activation_function = ActivationFunction::kGeluTanh;
  a.learned_positions = true;
  a.gated_mlp = false;
  a.qkv_bias = a.output_bias = a.mlp_bias = true;
}

StoredPlace place(const ParameterSpec& spec) {
  StoredPlace place{.name = spec.name, .shape = spec.full_shape};
  if (!spec.name.starts_with(kLayers)) {
    place.name = renamed(spec.name, {{"model.embed_tokens", "transformer.wte"},
                                     {"model.embed_positions", "transformer.wpe"},
                                     {"model.norm", "transformer.ln_f"}});
    return place;
  }
  place.name = renamed(base::concat("transformer.h.", spec.name.substr(kLayers.size())),
                       {{"input_layernorm", "ln_1"},
                        {"post_attention_layernorm", "ln_2"},
                        {"self_attn.q_proj", "attn.c_attn"},
                        {"self_attn.k_proj", "attn.c_attn"},
                        {"self_attn.v_proj", "attn.c_attn"},
                        {"self_attn.o_proj", "attn.c_proj"},
                        {"mlp.up_proj", "mlp.c_fc"},
                        {"mlp.down_proj", "mlp.c_proj"}});
  if (place.name.find("attn.c_attn") != std::string::npos) {
    place.n_parts = 3;
    place.part = spec.name.find("q_proj") != std::string::npos   ? 0
                 : spec.name.find("k_proj") != std::string::npos ? 1
                                                                 : 2;
    place.first_row = place.part * spec.full_shape[0];
    place.shape[0] *= 3;
  }
  if (place.shape.size() == 2) {
    place.is_transposed = true;
    std::swap(place.shape[0], place.shape[1]);
  }
  return place;
}

/// Masks that old files carry.
bool is_redundant(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

ordered_json write_sizes(const Architecture& a) {
  return {{"n_embd", a.hidden_size},
          {"n_inner", a.intermediate_size},
          {"n_layer", a.n_layers},
          {"n_head", a.n_heads},
          {"n_positions", a.max_positions},
          {"n_ctx", a.max_positions},
          {"layer_norm_epsilon", a.norm_eps},
          {"activation_function", a.activation_function == ActivationFunction::kGeluTanh
                                      ? "gelu_new"
                                      : written_name(a.activation_function)},
          {"attn_pdrop", 0.0},
          {"embd_pdrop", 0.0},
          {"resid_pdrop", 0.0},
          {"summary_first_dropout", 0.0}};
}

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  a.hidden_size = reader.integer("n_embd", "hidden_size", defaults.hidden_size);
  a.intermediate_size = reader.integer("n_inner", 4 * a.hidden_size);
  a.n_layers = reader.integer("n_layer", "num_hidden_layers", defaults.n_layers);
  a.n_heads = reader.integer("n_head", "num_attention_heads", defaults.n_heads);
  a.n_kv_heads = a.n_heads;
  a.max_positions =
      reader.integer("n_positions", "max_position_embeddings", defaults.max_positions);
  a.norm_eps = reader.number("layer_norm_epsilon", defaults.norm_eps);
  complete_head_dim(reader, a);
  complete(a);
  a.activation_function = activation_function_of(reader, "activation_function", "gelu_new");
  refuse_experts(reader);
}

void write_rest(const Architecture&, ordered_json&) {}

}  // namespace

FamilyTraits gpt2_family() {
  return {.family = Family::kGpt2,
          .model_type = "gpt2",
          .language_class = "GPT2LMHeadModel",
          .reward_class = "GPT2ForSequenceClassification",
          .defaults = {.vocab_size = 50257,
                       .hidden_size = 768,
                       .intermediate_size = 0,
                       .n_layers = 12,
                       .n_heads = 12,
                       .n_kv_heads = 0,
                       .head_dim = 0,
                       .max_positions = 1024,
                       .norm_eps = 1e-5,
                       .rope_theta = 1e4,
                       .bos_token = 50256,
                       .eos_token = 50256,
                       .tie_embeddings = true},
          .read = read,
          .write_sizes = write_sizes,
          .write_rest = write_rest,
          .complete = complete,
          .place = place,
          .trunk_prefix = "transformer.",
          .is_redundant = is_redundant};
}

}  // namespace orrery::model
