// What the program knows of a model family: how its config.json is read and written, what its
// tensors are called in files, what an architecture of it is made of. One file a family, one table
// (table.cpp); docs/extending.md has the recipe. Private to src/model. Any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config_reader.h"
#include "hf_names.h"
#include "orrery/model/architecture.h"

namespace orrery::model {

/// What transformers takes for an absent key.
struct Defaults {
  int64_t vocab_size, hidden_size, intermediate_size, n_layers, n_heads;
  int64_t n_kv_heads;  // 0: as many as n_heads
  int64_t head_dim;    // 0: hidden_size / n_heads
  int64_t max_positions;
  double norm_eps;
  double rope_theta;
  int64_t bos_token, eos_token;  // -1: none
  bool tie_embeddings;
};

struct FamilyTraits {
  Family family;
  const char* model_type;      // of config.json
  const char* language_class;  // of `architectures`
  const char* reward_class;    // a classifier of one label
  Defaults defaults;

  /// Everything but vocabulary, heads and special tokens, which all families spell alike.
  void (*read)(ConfigReader& reader, const Defaults& defaults, Architecture& architecture);
  /// The sizes, and what is written behind all else.
  nlohmann::ordered_json (*write_sizes)(const Architecture& architecture);
  void (*write_rest)(const Architecture& architecture, nlohmann::ordered_json& config);
  /// What an architecture of given sizes is made of besides; null: `architecture = NAME` without
  /// files is not offered.
  void (*complete)(Architecture& architecture) = nullptr;

  StoredPlace (*place)(const ParameterSpec& spec) = same_place;
  /// What precedes the names of all tensors but the heads'; a checkpoint of the trunk alone lacks
  /// it.
  const char* trunk_prefix = "model.";
  /// Tensors of files that nobody needs, beyond those that all families may have.
  bool (*is_redundant)(std::string_view name) = nullptr;

  /// Files that hold this family in `text_config` beside other parts: their model_type and class,
  /// what stands there in place of trunk_prefix, and the name of the head. Null: there are none.
  const char* wrapper_type = nullptr;
  const char* wrapper_class = nullptr;
  std::vector<const char*> wrapper_prefixes = {};
  const char* wrapper_head = nullptr;
};

/// All of them.
std::span<const FamilyTraits> families();
const FamilyTraits& traits(Family family);
/// Null: no such model_type.
const FamilyTraits* find_family(std::string_view model_type);
/// The one whose wrapper_type this is, or null.
const FamilyTraits* find_wrapped_family(std::string_view model_type);
/// What a model_type that people ask for has and no family here does; empty: not known.
std::string_view missing_part(std::string_view model_type);
/// "llama, mistral or qwen2": the model_types; `complete_only`: of those made from sizes alone.
std::string family_list(bool complete_only = false);

FamilyTraits llama_family();
FamilyTraits mistral_family();
FamilyTraits qwen2_family();
FamilyTraits qwen3_family();
FamilyTraits gemma_family();
FamilyTraits gpt2_family();
FamilyTraits mixtral_family();
FamilyTraits qwen2_moe_family();
FamilyTraits qwen3_moe_family();
FamilyTraits gemma3_family();
FamilyTraits olmo2_family();
FamilyTraits smollm3_family();

}  // namespace orrery::model
