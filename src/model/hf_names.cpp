#include "hf_names.h"

#include <string_view>
#include <utility>  // pair

#include "orrery/base/text.h"

namespace orrery::model {
namespace {

constexpr std::string_view kLayers = "model.layers.";

using Renames = std::vector<std::pair<std::string_view, std::string_view>>;

/// The first old part that `name` has is replaced.
std::string renamed(std::string name, const Renames& renames) {
  for (const auto& [from, to] : renames) {
    const size_t at = name.find(from);
    if (at != std::string::npos) return name.replace(at, from.size(), to);
  }
  return name;
}

std::string mixtral_name(const std::string& name) {
  const std::string moved = renamed(name, {{".mlp.", ".block_sparse_moe."}});
  if (moved.find(".experts.") == std::string::npos) return moved;
  return renamed(moved, {{"gate_proj", "w1"}, {"down_proj", "w2"}, {"up_proj", "w3"}});
}

StoredPlace gpt2_place(const ParameterSpec& spec) {
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

}  // namespace

StoredPlace stored_place(const Architecture& architecture, const ParameterSpec& spec) {
  if (architecture.family == Family::kGpt2) return gpt2_place(spec);
  StoredPlace place{.name = spec.name, .shape = spec.full_shape};
  if (architecture.family == Family::kMixtral) place.name = mixtral_name(spec.name);
  return place;
}

std::string trunk_prefix(const Architecture& architecture) {
  return architecture.family == Family::kGpt2 ? "transformer." : "model.";
}

}  // namespace orrery::model
