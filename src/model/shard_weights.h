// The weights of a shard by what they are for: views of one flat buffer, of values or of gradients
// with the same shapes. Where each parameter stands is said here alone. Private to src/model.
// Shape letters: H hidden, F = (Q + 2 K) D fused q, k, v, Q query heads, K key and value heads, D
// head_dim, I hidden units of an MLP, E experts, V own vocabulary; all of the shard.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "embedding.h"
#include "linear.h"
#include "operators.h"
#include "orrery/model/decoder.h"  // Shard

namespace orrery::model {

struct MlpWeights {
  Linear up;    // [2 I, H] gate and up, or [I, H]
  Linear down;  // [H, I]
};

struct ExpertWeights {
  Linear router;                // [E, H]
  int64_t first = 0;            // expert of `own` 0
  std::vector<MlpWeights> own;  // of this tensor rank
  MlpWeights shared;            // undefined without
  Linear shared_gate;           // [1, H]; undefined without
};

struct LayerWeights {
  AttentionHeads heads;
  Rotary rotary = Rotary::kGlobal;  // its positions
  Norm input_norm;                  // undefined with norms after the branches only
  Linear qkv;                       // [F, H]
  HeadNorms head_norms;
  Linear output;              // [H, Q D]
  Norm attention_after_norm;  // of what attention adds, or undefined
  Norm post_attention_norm;   // before the MLP, or undefined
  MlpWeights mlp;             // undefined in a layer of experts
  ExpertWeights experts;      // undefined in any other
  Norm mlp_after_norm;        // of what the MLP adds, or undefined

  bool has_experts() const { return experts.router.defined(); }
};

struct ShardWeights {
  EmbeddingWeights embedding;  // first stage
  std::vector<LayerWeights> layers;
  Norm final_norm;  // last stage
  Linear head;      // [V, H]; the embedding when tied; last stage, without a value head
};

/// f(tensor) for all that a part has, also for those that are undefined.
template <class F>
void for_each_tensor(Linear& linear, F&& f) {
  f(linear.weight);
  f(linear.bias);
}
template <class F>
void for_each_tensor(Norm& norm, F&& f) {
  f(norm.weight);
  f(norm.bias);
}
template <class F>
void for_each_tensor(EmbeddingWeights& embedding, F&& f) {
  f(embedding.table);
  f(embedding.positions);
}
template <class F>
void for_each_tensor(MlpWeights& mlp, F&& f) {
  for_each_tensor(mlp.up, f);
  for_each_tensor(mlp.down, f);
}
template <class F>
void for_each_tensor(LayerWeights& w, F&& f) {
  for (Norm* norm :
       {&w.input_norm, &w.attention_after_norm, &w.post_attention_norm, &w.mlp_after_norm}) {
    for_each_tensor(*norm, f);
  }
  for (Linear* linear : {&w.qkv, &w.output, &w.experts.router, &w.experts.shared_gate}) {
    for_each_tensor(*linear, f);
  }
  f(w.head_norms.q);
  f(w.head_norms.k);
  for_each_tensor(w.mlp, f);
  for_each_tensor(w.experts.shared, f);
  for (MlpWeights& expert : w.experts.own) for_each_tensor(expert, f);
}

/// Of the flat buffer `flat` [table.numel] of a shard of `architecture`, which is the whole
/// model's. `amx`: of its matmuls.
ShardWeights shard_weights(const Architecture& architecture, const Shard& shard,
                           const ParameterTable& table, const at::Tensor& flat, kernels::Amx amx);

}  // namespace orrery::model
