// What a decoder is made of, as plain numbers and a few switches: all families are values of this
// one struct (docs/models.md). No tensor, no file handle; any thread, any rank.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/kernels/activation.h"

namespace orrery::config {
struct ModelConfig;
}
namespace orrery::graph {
struct Layout;
}
namespace orrery::metrics {
struct FlopsShape;
}

namespace orrery::model {

/// Which Hugging Face class the model is written out as. The numbers below say what it computes.
enum class Family {
  kLlama,
  kMistral,
  kQwen2,
  kQwen3,
  kGemma,
  kGpt2,
  kMixtral,
  kQwen2Moe,
  kQwen3Moe,
  kGemma3,
  kOlmo2,
  kSmolLm3
};

/// The model_type of config.json.
std::string_view name(Family family);

enum class NormKind {
  kRms,         // x / rms(x) * w
  kRmsPlusOne,  // x / rms(x) * (1 + w)
  kLayer,       // (x - mean) / deviation * w + b
};

/// Where the norms of a layer stand, around each of its two branches (attention, MLP).
enum class NormPlacement {
  kBefore,  // x + branch(norm(x))
  kAfter,   // x + norm(branch(x))
  kAround,  // x + norm(branch(norm(x)))
};

/// The rotary positions of one layer.
enum class Rotary { kNone, kGlobal, kLocal };

/// Between the matmuls of the MLP.
using kernels::ActivationFunction;

enum class RopeKind { kPlain, kLinear, kLlama3, kYarn };

/// How the rotary frequencies are scaled for contexts longer than those of pretraining.
struct RopeScaling {
  RopeKind kind = RopeKind::kPlain;
  double factor = 1;
  double original_positions = 0;    // llama3, yarn: the context of pretraining
  double low_frequency_factor = 1;  // llama3
  double high_frequency_factor = 4;
  double beta_fast = 32;  // yarn
  double beta_slow = 1;
  double attention_factor = 1;  // yarn: on cosines and sines
  bool truncate = true;         // yarn: the ramp begins and ends at whole dims

  bool operator==(const RopeScaling&) const = default;
};

/// A mixture of experts in place of the MLP of some layers. A token goes through the `per_token`
/// experts of the largest router probabilities, weighted by these.
struct Experts {
  int64_t count = 0;  // 0: no layer has experts
  int64_t per_token = 0;
  int64_t intermediate_size = 0;  // of one expert
  int64_t shared_intermediate_size =
      0;                           // of the one that all tokens take, times a sigmoid; 0: none
  bool normalise = false;          // the weights of a token sum to 1
  double balance_coefficient = 0;  // of the balance loss (balance.h)
  std::vector<bool> layers;        // [n_layers] which have experts; empty: all of them

  bool operator==(const Experts&) const = default;
};

struct Architecture {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;   // the longest sequence, prompt and answer together
  int64_t sliding_window = 0;  // a token sees itself and the window - 1 before it; 0: all of them
  std::vector<bool> sliding_layers;  // [n_layers] which have the window; empty: all of them
  double rope_theta = 10000;
  RopeScaling rope;
  double local_rope_theta = 0;  // of layers with the window, not scaled; 0: as the other layers
  std::vector<bool> unrotated_layers;  // [n_layers] which have no positions at all; empty: none
  bool learned_positions = false;      // a table of positions instead of rotary ones
  NormKind norm = NormKind::kRms;
  NormPlacement norm_placement = NormPlacement::kBefore;
  double norm_eps = 1e-5;
  double embedding_scale = 1;  // on embedded tokens, not in the head
  ActivationFunction activation_function = ActivationFunction::kSilu;
  bool gated_mlp = true;  // f(gate) * up, otherwise f(up)
  bool qkv_bias = false;
  bool output_bias = false;  // of the matmul after attention
  bool mlp_bias = false;
  Experts experts;
  bool qk_norm = false;        // rms norm over head_dim on each query and key head, before rope
  bool qk_norm_whole = false;  // with qk_norm: over all query heads together, and all key heads
  double query_scale = 0;      // scores are divided by its square root; 0: head_dim
  bool tie_embeddings = false;
  bool value_head = false;          // one number a token instead of logits: critics, reward models
  int64_t bos_token = -1;           // -1: none
  std::vector<int64_t> eos_tokens;  // empty: none

  int64_t query_size() const { return n_heads * head_dim; }
  int64_t kv_size() const { return n_kv_heads * head_dim; }
  int64_t qkv_size() const { return query_size() + 2 * kv_size(); }
  int64_t window_of(int64_t layer) const;  // 0: none
  Rotary rotary_of(int64_t layer) const;
  double score_scale() const;  // of q k^T
  bool has_norms_before() const { return norm_placement != NormPlacement::kAfter; }
  bool has_norms_after() const { return norm_placement != NormPlacement::kBefore; }
  bool has_experts(int64_t layer) const;
  bool has_dense_layers() const;
  /// Rows of the matmul that goes into the activation function: gate and up, or up alone.
  int64_t up_size() const { return (gated_mlp ? 2 : 1) * intermediate_size; }

  /// Everything that makes this architecture impossible, one sentence each; empty: sound.
  std::vector<std::string> problems() const;

  /// The sizes of a `[model.X]` section, or those of `path`/config.json when it names a directory.
  /// Throws ConfigError that lists every problem.
  static Architecture from_config(const config::ModelConfig& config);

  /// Reads a Hugging Face config.json, in the key style of transformers 4 or 5.
  /// Throws ConfigError that names every field which changes the result and is not supported.
  static Architecture from_hf_config(const std::filesystem::path& config_json);

  /// The numbers that FLOPs are counted from.
  metrics::FlopsShape flops_shape() const;

  bool operator==(const Architecture&) const = default;
};

/// Why `layout` cannot run `architecture`; empty: it can. Pure.
std::vector<std::string> check_layout(const Architecture& architecture,
                                      const graph::Layout& layout);

}  // namespace orrery::model
