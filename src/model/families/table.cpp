// The families that there are.
#include <array>
#include <string>
#include <vector>

#include "family.h"
#include "orrery/base/error.h"

namespace orrery::model {

std::span<const FamilyTraits> families() {
  static const std::array kFamilies = {
      llama_family(), mistral_family(), qwen2_family(),     qwen3_family(),     gemma_family(),
      gpt2_family(),  mixtral_family(), qwen2_moe_family(), qwen3_moe_family(),
  };
  return kFamilies;
}

const FamilyTraits& traits(Family family) {
  for (const FamilyTraits& entry : families()) {
    if (entry.family == family) return entry;
  }
  ORRERY_ASSERT(false, "a family without an entry in the table of families");
  return families().front();
}

const FamilyTraits* find_family(std::string_view model_type) {
  for (const FamilyTraits& entry : families()) {
    if (entry.model_type == model_type) return &entry;
  }
  return nullptr;
}

std::string_view missing_part(std::string_view model_type) {
  struct Missing {
    std::string_view model_type, part;
  };
  static constexpr Missing kMissing[] = {
      {"gpt_oss", "attention sinks, and experts in MXFP4"},
      {"qwen3_next", "linear attention (gated delta rule)"},
      {"qwen3_5", "linear attention (gated delta rule)"},
      {"qwen3_5_moe", "linear attention (gated delta rule)"},
      {"kimi_linear", "linear attention"},
      {"minimax", "linear attention"},
      {"falcon_h1", "state-space layers"},
      {"mamba", "state-space layers"},
      {"mamba2", "state-space layers"},
      {"jamba", "state-space layers"},
      {"nemotron_h", "state-space layers"},
      {"gemma2", "soft-capped scores and logits"},
      {"gemma3n", "per-layer embeddings and alternating updates"},
      {"deepseek_v2", "latent attention"},
      {"deepseek_v3", "latent attention"},
      {"llama4", "chunked attention and temperature-scaled queries"},
  };
  for (const Missing& entry : kMissing) {
    if (entry.model_type == model_type) return entry.part;
  }
  return {};
}

std::string family_list(bool complete_only) {
  std::vector<std::string> names;
  for (const FamilyTraits& entry : families()) {
    if (!complete_only || entry.complete != nullptr) names.emplace_back(entry.model_type);
  }
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
  }
  return text;
}

std::string_view name(Family family) { return traits(family).model_type; }

}  // namespace orrery::model
