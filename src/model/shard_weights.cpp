#include "shard_weights.h"

#include <algorithm>  // max
#include <string>

#include "orrery/base/text.h"

namespace orrery::model {
namespace {

/// Views of one flat buffer by the names of its parameters.
class Views {
 public:
  /// `n_kv_heads` of the whole model.
  Views(const Architecture& local, const Shard& shard, int64_t n_kv_heads,
        const ParameterTable& table, const at::Tensor& flat, kernels::Amx amx)
      : a_(local), shard_(shard), n_kv_heads_(n_kv_heads), table_(table), flat_(flat), amx_(amx) {}

  LayerWeights layer(int64_t block) const {
    const std::string prefix = base::concat("model.layers.", block, ".");
    LayerWeights w;
    w.heads = {.n_heads = a_.n_heads,
               .n_kv_heads = a_.n_kv_heads,
               .head_dim = a_.head_dim,
               .window = a_.window_of(block),
               .scale = a_.score_scale()};
    w.rotary = a_.rotary_of(block);
    const bool after = a_.has_norms_after();
    if (a_.has_norms_before()) {
      w.input_norm = norm(prefix + "input_layernorm");
      w.post_attention_norm =
          norm(prefix + (after ? "pre_feedforward_layernorm" : "post_attention_layernorm"));
    }
    if (after) {
      w.attention_after_norm = norm(prefix + "post_attention_layernorm");
      w.mlp_after_norm = norm(prefix + "post_feedforward_layernorm");
    }
    const std::string attention = prefix + "self_attn.";
    w.qkv = linear(attention + "q_proj", a_.qkv_size(), a_.hidden_size, a_.qkv_bias);
    if (a_.qk_norm) w.head_norms = head_norms(attention);
    w.output = linear(attention + "o_proj", a_.hidden_size, a_.query_size(), a_.output_bias);
    if (a_.has_experts(block)) {
      w.experts = experts(prefix + "mlp.");
    } else {
      w.mlp = mlp(prefix + "mlp.", a_.intermediate_size, a_.mlp_bias);
    }
    return w;
  }

  EmbeddingWeights embedding(const IndexRange& vocabulary) const {
    EmbeddingWeights w;
    w.table = matrix("model.embed_tokens.weight", a_.vocab_size, a_.hidden_size);
    w.vocabulary = vocabulary;
    w.scale = a_.embedding_scale;
    if (a_.learned_positions) {
      const std::string name = "model.embed_positions.weight";
      w.positions = matrix(name, table_.find(name)->numel / a_.hidden_size, a_.hidden_size);
    }
    return w;
  }

  Norm norm(const std::string& name) const {
    Norm norm{a_.norm, a_.norm_eps, vector(name + ".weight", a_.hidden_size), {}};
    if (a_.norm == NormKind::kLayer) norm.bias = vector(name + ".bias", a_.hidden_size);
    return norm;
  }

  at::Tensor matrix(const std::string& name, int64_t rows, int64_t columns) const {
    return vector(name, rows * columns).view({rows, columns});
  }

 private:
  /// `size` numbers from the parameter `name` on: parameters that one matmul reads are neighbours.
  at::Tensor vector(const std::string& name, int64_t size) const {
    return flat_.narrow(0, table_.find(name)->offset, size);
  }

  Linear linear(const std::string& first, int64_t n_out, int64_t n_in, bool has_bias) const {
    Linear linear{
        .weight = matrix(first + ".weight", n_out, n_in), .bias = {}, .panels = {}, .amx = amx_};
    if (has_bias) linear.bias = vector(first + ".bias", n_out);
    return linear;
  }

  HeadNorms head_norms(const std::string& attention) const {
    HeadNorms norms{.kind = a_.norm, .eps = a_.norm_eps, .is_whole = a_.qk_norm_whole};
    norms.q = vector(attention + "q_norm.weight", norms.is_whole ? a_.query_size() : a_.head_dim);
    norms.k = vector(attention + "k_norm.weight", norms.is_whole ? a_.kv_size() : a_.head_dim);
    norms.ranks = {shard_.tensor, std::max<int64_t>(1, shard_.place.n_tensor / n_kv_heads_)};
    return norms;
  }

  MlpWeights mlp(const std::string& prefix, int64_t width, bool has_bias) const {
    const std::string first = prefix + (a_.gated_mlp ? "gate_proj" : "up_proj");
    return {linear(first, (a_.gated_mlp ? 2 : 1) * width, a_.hidden_size, has_bias),
            linear(prefix + "down_proj", a_.hidden_size, width, has_bias)};
  }

  ExpertWeights experts(const std::string& prefix) const {
    const Experts& e = a_.experts;
    ExpertWeights w;
    w.router = linear(prefix + "gate", e.count, a_.hidden_size, false);
    const IndexRange own = experts_of(e.count, shard_.place);
    w.first = own.first;
    for (int64_t expert = own.first; expert < own.end(); ++expert) {
      w.own.push_back(
          mlp(base::concat(prefix, "experts.", expert, "."), e.intermediate_size, false));
    }
    if (e.shared_intermediate_size == 0) return w;
    w.shared = mlp(prefix + "shared_expert.", e.shared_intermediate_size, false);
    w.shared_gate = linear(prefix + "shared_expert_gate", 1, a_.hidden_size, false);
    return w;
  }

  const Architecture& a_;  // of the shard
  const Shard& shard_;
  const int64_t n_kv_heads_;
  const ParameterTable& table_;
  const at::Tensor& flat_;
  const kernels::Amx amx_;
};

}  // namespace

ShardWeights shard_weights(const Architecture& architecture, const Shard& shard,
                           const ParameterTable& table, const at::Tensor& flat, kernels::Amx amx) {
  const Architecture local = shard_architecture(architecture, shard.place);
  const Views views(local, shard, architecture.n_kv_heads, table, flat, amx);
  ShardWeights weights;
  if (shard.place.is_first_stage()) {
    weights.embedding = views.embedding(vocabulary_of(architecture.vocab_size, shard.place));
  }
  const IndexRange blocks = blocks_of(architecture.n_layers, shard.place);
  for (int64_t block = blocks.first; block < blocks.end(); ++block) {
    weights.layers.push_back(views.layer(block));
  }
  if (!shard.place.is_last_stage()) return weights;
  weights.final_norm = views.norm("model.norm");
  if (architecture.value_head) return weights;
  const std::string head =
      architecture.tie_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  weights.head.amx = amx;
  weights.head.weight = views.matrix(head, local.vocab_size, local.hidden_size);
  return weights;
}

}  // namespace orrery::model
