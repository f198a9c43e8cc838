// One decoder layer forwards and backwards: the library's matmuls, own kernels for the rest. On
// several tensor ranks each has its heads and its part of the MLP (Shoeybi et al. 2019,
// Megatron-LM) and, between the matmuls, its rows (row_exchange.h).
//   n = norm(x); q, k, v = n Wqkv^T (+ bias), rotated; m = x + attention(q, k, v) Wo^T (+ bias);
//   y = m + (f(norm(m) Wg^T) * norm(m) Wu^T) Wd^T, or f(norm(m) Wu^T) Wd^T (+ biases), or a mixture
//   of experts (experts.h)
// Shape letters: T packed tokens, H hidden, F = (heads + 2 kv heads) * D fused q, k, v, I
// intermediate, Q query heads, K key and value heads, all of the shard; R own rows (T with one
// tensor rank).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "arena.h"
#include "experts.h"
#include "orrery/model/architecture.h"
#include "orrery/model/parameter_table.h"
#include "row_exchange.h"

namespace orrery::model {

/// Views of the flat buffer (values, or gradients with the same shapes).
struct LayerWeights {
  int64_t window = 0;                   // of its attention; 0: none
  at::Tensor input_norm;                // [H]
  at::Tensor input_norm_bias;           // [H] or undefined
  at::Tensor qkv;                       // [F, H]
  at::Tensor qkv_bias;                  // [F] or undefined
  at::Tensor q_norm;                    // [D] or undefined
  at::Tensor k_norm;                    // [D] or undefined
  at::Tensor output;                    // [H, Q D]
  at::Tensor output_bias;               // [H] or undefined
  at::Tensor post_attention_norm;       // [H]
  at::Tensor post_attention_norm_bias;  // [H] or undefined
  MlpWeights mlp;                       // undefined in a layer of experts
  ExpertWeights experts;                // undefined in any other

  bool has_experts() const { return experts.router.defined(); }
};

/// The views of block `block` of a flat buffer [numel].
LayerWeights layer_weights(const Architecture& architecture, const ParameterTable& table,
                           const at::Tensor& flat, int64_t block);

/// What all layers of one pass share.
struct PassInput {
  const Architecture& architecture;        // of the shard: its heads, its part of the MLP
  const std::vector<int32_t>& cu_seqlens;  // [N + 1]
  const std::vector<int32_t>& positions;   // [T]
  const at::Tensor& cosines;               // [positions, D / 2]
  const at::Tensor& sines;                 // [positions, D / 2]
  PassRows rows;
  double balance = 0;  // weight of the balance loss in backward (experts.h)

  int64_t n_tokens() const { return rows.n_tokens; }
};

/// What backward reads again, besides the layer's input.
struct LayerActivations {
  at::Tensor input_rstd;   // [R, 1]
  at::Tensor qkv;          // [T, F] rotated; with q/k norm as the matmul left it
  at::Tensor rotated;      // [T, (Q + K) D] normed and rotated q and k; undefined without q/k norm
  at::Tensor qk_rstd;      // [T, Q + K]; undefined without q/k norm
  at::Tensor attention;    // [T, Q D]
  at::Tensor logsumexp;    // [T, Q]
  at::Tensor middle;       // [R, H]
  at::Tensor middle_rstd;  // [R, 1]
  at::Tensor up;           // [T, 2 I] gate and up, or [T, I]; not of experts
  Routing routing;         // of experts

  static int64_t size_of(const Architecture& a, const PassRows& rows);
  static LayerActivations from(Arena& slab, const Architecture& a, const PassRows& rows);
};

/// Matrices that no one reads after the layer.
struct LayerScratch {
  at::Tensor normed;      // [R, H]
  at::Tensor gated;       // [T, I]
  at::Tensor dqkv;        // [T, F]; backward only
  at::Tensor dattention;  // [T, Q D]; backward only
  at::Tensor dnormed;     // [R, H]; backward only
  at::Tensor full;        // [n_gathered, H]: all rows, or partial sums of them

  static int64_t size_of(const Architecture& a, const PassRows& rows);
  static LayerScratch from(Arena& slab, const Architecture& a, const PassRows& rows);
};

/// input [R, H] -> output [R, H], which must not be `input`. An undefined output is not computed:
/// only the activations are. Collective over the tensor ranks.
void forward_layer(const PassInput& pass, const LayerWeights& weights, const at::Tensor& input,
                   LayerActivations& activations, LayerScratch& scratch, at::Tensor output);

/// gradient [R, H]: of the loss by the layer's output on entry, by its input on return. Adds to
/// `dweights`; those of the norms are sums over own rows or own heads only. Destroys `activations`.
/// Collective over the tensor ranks.
void backward_layer(const PassInput& pass, const LayerWeights& weights, LayerWeights& dweights,
                    const at::Tensor& input, LayerActivations& activations, LayerScratch& scratch,
                    at::Tensor& gradient);

}  // namespace orrery::model
