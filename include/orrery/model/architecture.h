// What a decoder is made of, as plain numbers and a few switches: Llama, Qwen2, Qwen3 and Mistral
// are values of this one struct. No tensor, no file handle; any thread, any rank.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

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
enum class Family { kLlama, kMistral, kQwen2, kQwen3 };

std::string_view name(Family family);

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
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  bool qkv_bias = false;
  bool qk_norm = false;  // rms norm over head_dim on each query and key head, before rope
  bool tie_embeddings = false;
  bool value_head = false;          // one number a token instead of logits: critics, reward models
  int64_t bos_token = -1;           // -1: none
  std::vector<int64_t> eos_tokens;  // empty: none

  int64_t query_size() const { return n_heads * head_dim; }
  int64_t kv_size() const { return n_kv_heads * head_dim; }
  int64_t qkv_size() const { return query_size() + 2 * kv_size(); }

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
