// One decoder layer, forwards and backwards, of operators (operators.h) and matmuls (linear.h). It
// is written once: training keeps what backward reads, scoring keeps nothing, prefill and decoding
// also have a cache and packed weights.
//   n = norm(x); q, k, v = n Wqkv^T (+ bias), rotated; m = x + attention(q, k, v) Wo^T (+ bias);
//   y = m + (f(norm(m) Wg^T) * norm(m) Wu^T) Wd^T, or f(norm(m) Wu^T) Wd^T (+ biases), or a mixture
//   of experts (experts.h). Some families norm what a branch adds, in place of what goes into it or
//   as well (NormPlacement).
// Shape letters: T packed tokens, H hidden, F = (heads + 2 kv heads) * D fused q, k, v, I
// intermediate, Q query heads, K key and value heads, all of the shard; R own rows (T with one
// tensor rank).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "arena.h"
#include "orrery/model/architecture.h"
#include "rope_table.h"
#include "row_exchange.h"
#include "shard_weights.h"

namespace orrery::model {

/// What all layers of one pass share.
struct PassInput {
  const Architecture& architecture;  // of the shard: its heads, its part of the MLP
  PackedRows packed;
  const RopeTables& rope;
  PassRows rows;
  double balance = 0;  // weight of the balance loss in backward (experts.h)

  int64_t n_tokens() const { return rows.n_tokens; }
};

/// What backward reads again, besides the layer's input.
struct LayerActivations {
  at::Tensor input_rstd;      // [R, 1]; undefined, like middle_rstd, without norms before
  at::Tensor qkv;             // [T, F] rotated; with head norms as the matmul left it
  at::Tensor rotated;         // [T, (Q + K) D] normed and rotated q and k; undefined without
  at::Tensor head_norm_rstd;  // [T, Q + K]; [T, 2] over all heads; undefined without
  at::Tensor attention;       // [T, Q D]
  at::Tensor logsumexp;       // [T, Q]
  at::Tensor middle;          // [R, H]
  at::Tensor middle_rstd;     // [R, 1]
  at::Tensor up;              // [T, 2 I] gate and up, or [T, I]; not of experts
  Routing routing;            // of experts
  at::Tensor attention_out;   // [R, H] what a norm after the branch reads; undefined without
  at::Tensor attention_rstd;  // [R, 1]
  at::Tensor mlp_out;         // [R, H] likewise
  at::Tensor mlp_rstd;        // [R, 1]

  /// Numbers of `dtype`; rstd and logsumexp are of the type of sums.
  static int64_t size_of(const Architecture& a, const PassRows& rows, at::ScalarType dtype);
  static LayerActivations from(Arena& slab, const Architecture& a, const PassRows& rows);
  /// Of a pass without a gradient: what only backward reads is undefined, q and k are normed in
  /// place. As large at most.
  static LayerActivations unkept(Arena& slab, const Architecture& a, const PassRows& rows);
};

/// Matrices that no one reads after the layer.
struct LayerScratch {
  at::Tensor normed;  // [R, H]
  at::Tensor gated;   // [T, I]
  at::Tensor full;    // [n_gathered, H]: all rows, or partial sums of them

  static int64_t size_of(const Architecture& a, const PassRows& rows);
  static LayerScratch from(Arena& slab, const Architecture& a, const PassRows& rows);
};

struct BackwardScratch {
  LayerScratch forward;
  at::Tensor dqkv;        // [T, F]
  at::Tensor dattention;  // [T, Q D]
  at::Tensor dnormed;     // [R, H]
  at::Tensor dbranch;     // [R, H]; with norms after the branches

  static int64_t size_of(const Architecture& a, const PassRows& rows);
  static BackwardScratch from(Arena& slab, const Architecture& a, const PassRows& rows);
};

/// input [R, H] -> output [R, H], which may be `input` where that is not read again. An undefined
/// output is not computed: only the activations are. With a cache the keys and values go there and
/// the rows see what it holds. Collective over the tensor ranks.
void forward_layer(const PassInput& pass, const LayerWeights& weights, const at::Tensor& input,
                   LayerActivations& activations, LayerScratch& scratch, at::Tensor output,
                   PagedCache* cache = nullptr);

/// gradient [R, H]: of the loss by the layer's output on entry, by its input on return. Adds to
/// `dweights`; those of the norms are sums over own rows or own heads only. Destroys `activations`.
/// Collective over the tensor ranks.
void backward_layer(const PassInput& pass, const LayerWeights& weights, LayerWeights& dweights,
                    const at::Tensor& input, LayerActivations& activations,
                    BackwardScratch& scratch, at::Tensor& gradient);

}  // namespace orrery::model
