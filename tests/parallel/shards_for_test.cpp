#include "shards_for_test.h"

#include <ATen/ATen.h>

#include <cstdlib>

#include "three_factors.h"
#include "training_for_test.h"

namespace orrery::parallel {

model::Architecture four_layers(const std::string& kind) {
  model::Architecture a;
  if (kind == "bias") a.family = model::Family::kQwen2;
  if (kind == "qk_norm") a.family = model::Family::kQwen3;
  a.vocab_size = kSmallVocabulary;
  a.hidden_size = 24;
  a.intermediate_size = 32;
  a.n_layers = 4;
  a.n_heads = 8;
  a.n_kv_heads = 2;  // fewer than 4 or 8 tensor ranks
  a.head_dim = 4;
  a.max_positions = 64;
  a.qkv_bias = kind == "bias";
  a.qk_norm = kind == "qk_norm";
  a.tie_embeddings = kind == "tied" || kind == "gemma" || kind == "gpt2";
  if (kind == "gemma") {
    a.family = model::Family::kGemma;
    a.norm = model::NormKind::kRmsPlusOne;
    a.activation_function = model::ActivationFunction::kGeluTanh;
    a.embedding_scale = 3;
  }
  if (kind == "gpt2") {
    a.family = model::Family::kGpt2;
    a.n_kv_heads = a.n_heads;
    a.head_dim = 3;
    a.norm = model::NormKind::kLayer;
    a.activation_function = model::ActivationFunction::kGeluTanh;
    a.learned_positions = true;
    a.gated_mlp = false;
    a.qkv_bias = a.output_bias = a.mlp_bias = true;
  }
  if (kind == "gemma3") {
    a.family = model::Family::kGemma3;
    a.norm = model::NormKind::kRmsPlusOne;
    a.norm_placement = model::NormPlacement::kAround;
    a.activation_function = model::ActivationFunction::kGeluTanh;
    a.embedding_scale = 3;
    a.qkv_bias = a.output_bias = true;
    a.qk_norm = true;
    a.query_scale = 6;
    a.local_rope_theta = 50;
    a.sliding_window = 5;
    a.sliding_layers = {true, false, true, true};
    a.tie_embeddings = true;
  }
  if (kind == "olmo2") {
    a.family = model::Family::kOlmo2;
    a.norm_placement = model::NormPlacement::kAfter;
    a.qk_norm = a.qk_norm_whole = true;
  }
  if (kind == "smollm3") {
    a.family = model::Family::kSmolLm3;
    a.unrotated_layers = {false, true, true, false};
    a.sliding_window = 5;
    a.sliding_layers = a.unrotated_layers;
  }
  if (kind == "experts") {
    a.family = model::Family::kQwen2Moe;
    a.qkv_bias = true;
    a.experts = {.count = 9,  // not the same number on all ranks
                 .per_token = 3,
                 .intermediate_size = 8,
                 .shared_intermediate_size = 16,
                 .normalise = true,
                 .layers = {true, false, true, true}};
  }
  return a;
}

void disturb(model::FlatParameters& parameters) {
  parameters.initialise(7);
  parameters.values().mul_(3);
  // Biases and weights that begin at zero.
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    if (spec.init != model::InitRule::kZeros) continue;
    at::Tensor part = parameters.values().narrow(0, spec.offset, spec.numel);
    const int64_t first = spec.first[0];
    part.copy_(at::arange(first, first + spec.numel, part.options()).mul(0.7).sin().mul(0.3));
  }
  parameters.store();
}

TestShard::TestShard(const model::Architecture& a, const graph::Degrees& degrees,
                     comm::Communicator& all, at::ScalarType dtype) {
  const graph::Topology topology(degrees);
  at = topology.coordinate(all.rank());
  const auto split = [&](int colour, int key, const char* name) {
    owned.push_back(all.split(colour, key, name));
    return owned.back().get();
  };
  const int d = degrees.data, t = degrees.tensor;
  groups.model = &all;
  groups.data = split(at.pipe * t + at.tensor, at.data, "data");
  auto* const tensor = split(at.pipe * d + at.data, at.tensor, "tensor");
  auto* const pipe = split(at.data * t + at.tensor, at.pipe, "pipe");
  const bool is_end = at.pipe == 0 || at.pipe == degrees.pipe - 1;
  auto* const embedding = split(is_end ? at.data * t + at.tensor : -1, at.pipe, "embedding");
  if (t > 1) groups.tensor = tensor;
  if (degrees.pipe > 1) groups.pipe = pipe;
  if (degrees.pipe > 1 && is_end && a.tie_embeddings) groups.embedding = embedding;
  decoder = std::make_unique<model::Decoder>(
      a, dtype, c10::kCPU,
      model::Shard{{at.pipe, degrees.pipe, at.tensor, degrees.tensor}, groups.tensor, groups.pipe});
  disturb(decoder->parameters());
}

at::Tensor part_of(const at::Tensor& full, const model::ParameterSpec& spec) {
  at::Tensor part = full.narrow(0, spec.first[0], spec.shape[0]);
  return spec.shape.size() < 2 ? part : part.narrow(1, spec.first[1], spec.shape[1]);
}

std::vector<graph::Degrees> layouts(const model::Architecture& a) {
  const bool all = std::getenv("ORRERY_FULL") != nullptr;
  std::vector<graph::Degrees> found;
  for (int n = 1; n <= 8; ++n) {
    for (const auto& [pipe, data, tensor] : three_factors(n)) {
      if (pipe > a.n_layers || a.n_heads % tensor != 0) continue;
      const bool is_chosen = all || n <= 4 || (pipe == 2 && tensor == 2) || tensor == 8;
      if (is_chosen) found.push_back({pipe, data, tensor});
    }
  }
  return found;
}

}  // namespace orrery::parallel
