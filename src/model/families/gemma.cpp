// Gemma 1: (1 + w) norms, scaled embeddings, GELU in its tanh form, tied.
#include <cmath>  // sqrt

#include "shared_fields.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

void read(ConfigReader& reader, const Defaults& defaults, Architecture& a) {
  read_sizes(reader, defaults, a);
  read_rope(reader, defaults, a);
  refuse_window(reader, a);
  complete_head_dim(reader, a);
  a.norm = NormKind::kRmsPlusOne;
  a.embedding_scale = std::sqrt(static_cast<double>(a.hidden_size));
  // Early files say "gelu" and mean its tanh form; some have the right name in another key.
  const char* key =
      reader.find("hidden_activation") != nullptr ? "hidden_activation" : "hidden_act";
  a.activation_function = activation_function_of(reader, key, "gelu_pytorch_tanh");
  if (a.activation_function == ActivationFunction::kGelu) {
    a.activation_function = ActivationFunction::kGeluTanh;
  }
  read_attention_bias(reader, a);
  refuse_bias(reader, "mlp_bias");
  refuse_experts(reader);
}

void write_rest(const Architecture& a, ordered_json& config) {
  config["attention_bias"] = a.qkv_bias;
}

void complete(Architecture& a) {
  a.norm = NormKind::kRmsPlusOne;
  a.activation_function = ActivationFunction::kGeluTanh;
  a.embedding_scale = std::sqrt(static_cast<double>(a.hidden_size));
}

}  // namespace

FamilyTraits gemma_family() {
  return {.family = Family::kGemma,
          .model_type = "gemma",
          .language_class = "GemmaForCausalLM",
          .reward_class = "GemmaForSequenceClassification",
          .defaults = {.vocab_size = 256000,
                       .hidden_size = 3072,
                       .intermediate_size = 24576,
                       .n_layers = 28,
                       .n_heads = 16,
                       .n_kv_heads = 16,
                       .head_dim = 256,
                       .max_positions = 8192,
                       .norm_eps = 1e-6,
                       .rope_theta = 1e4,
                       .bos_token = 2,
                       .eos_token = 1,
                       .tie_embeddings = true},
          .read = read,
          .write_sizes = common_sizes,
          .write_rest = write_rest,
          .complete = complete};
}

}  // namespace orrery::model
