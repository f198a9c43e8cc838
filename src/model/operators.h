// What a model computes between its matmuls, one function for each region that a device runs as one
// piece: tensors in, tensors out; layers, head and passes know no number type. A layer is written
// once with them (layer.cpp) and serves training, scoring, prefill and decoding. Tensors of CUDA
// devices go on to cuda_operators.h.
// Private to src/model.
//
// Rows are one behind another unless said otherwise; an undefined tensor is one that is not there,
// or not wanted. Local, but where it says collective; on CPUs allocating nothing of a matrix's
// size. Shape letters: N rows, T packed tokens, S sequences, H hidden, V own vocabulary, Q query
// heads, K key and value heads, D head_dim, F = (Q + 2 K) D, I hidden units of an MLP, E experts, G
// experts of a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "orrery/kernels/rms_norm.h"     // Output
#include "orrery/kernels/sample_rows.h"  // DrawKey
#include "orrery/kernels/sampling.h"
#include "orrery/model/architecture.h"
#include "orrery/model/parameter_table.h"  // IndexRange
#include "rope_table.h"
#include "whole_norm.h"  // HeadRanks

namespace orrery::model {

/// A norm of rows; undefined where a model has none. Also its gradient, with the same shapes.
struct Norm {
  NormKind kind = NormKind::kRms;
  double eps = 0;
  at::Tensor weight;  // [H]
  at::Tensor bias;    // [H]; kLayer only

  bool defined() const { return weight.defined(); }
};

/// The norms of q and k before rope: over each head, or over all heads together.
struct HeadNorms {
  NormKind kind = NormKind::kRms;
  double eps = 0;
  bool is_whole = false;
  at::Tensor q = {};  // [D], [Q D] over all heads together; undefined: the model has none
  at::Tensor k = {};  // [D], [K D] likewise
  HeadRanks ranks = {};

  bool defined() const { return q.defined(); }
};

/// The heads of one layer's attention on this shard.
struct AttentionHeads {
  int64_t n_heads = 0;     // Q
  int64_t n_kv_heads = 0;  // K
  int64_t head_dim = 0;    // D
  int64_t window = 0;      // a query sees itself and the window - 1 tokens before it; 0: all
  double scale = 1;        // of the scores

  int64_t query_size() const { return n_heads * head_dim; }
  int64_t kv_size() const { return n_kv_heads * head_dim; }
};

/// The tokens of one pass, in sequences one behind the other.
struct PackedRows {
  const std::vector<int32_t>& cu_seqlens;  // [S + 1]
  std::span<const int32_t> positions;      // [T] of each token in its sequence
  at::Tensor gpu_cu_seqlens = {};          // the same on a GPU, once for all layers
  at::Tensor gpu_positions = {};
  int64_t longest = 0;  // sequence; on a GPU
};

/// What a GPU reads of a cache in one pass of N rows, the same for all layers.
struct CacheRows {
  at::Tensor page_table;  // [S, table_stride] int32
  at::Tensor sequence;    // [N] int32, of each row
  at::Tensor n_context;   // [N] int32, tokens of the sequence up to each row
};

/// Keys and values of one layer, in pages (kernels/decode_attention.h), and whose they are.
struct PagedCache {
  at::Tensor pages;                     // [pages, page size]
  const int32_t* page_table = nullptr;  // [S] rows table_stride apart: pages in token order
  int64_t table_stride = 0;
  std::span<const int32_t> n_context;  // [S] tokens of each, its rows of this pass included
  at::Tensor scratch;      // kernels::decode_attention_scratch() numbers; on GPUs the partials of
                           // kernels::AttentionParts
  at::Tensor n_done = {};  // on GPUs, as there: [rows of scratch, Q] int32
  CacheRows rows = {};     // on GPUs
};

/// The balance loss in backward: `weight` times the gradient of, for each sequence of n tokens,
/// n E sum_e (assignments to e / n) (mean probability of e).
struct BalanceLoss {
  double weight = 0;
  std::span<const int32_t> cu_seqlens;  // [S + 1]
};

/// A token with the policy's entropy where it was drawn; 0: not measured.
struct Draw : kernels::SampledToken {
  double entropy = 0;
};

namespace operators {

/// On the device of `like`.
PackedRows packed_rows(const std::vector<int32_t>& cu_seqlens, std::span<const int32_t> positions,
                       const at::Tensor& like);

// Embedding.

/// out [N, H]: rows of the shard's part `table` [V, H]; zeros for tokens of other ranks' parts.
void look_up(const at::Tensor& table, const IndexRange& vocabulary, std::span<const int64_t> tokens,
             at::Tensor& out);
/// dtable [V, H] += dout [N, H], summed in the order of the tokens.
void look_up_backward(const at::Tensor& dout, const IndexRange& vocabulary,
                      std::span<const int64_t> tokens, at::Tensor& dtable);
/// rows [>= N, H] += rows of `table` [positions, H], for the first N of them.
void add_positions(at::Tensor& rows, std::span<const int32_t> positions, const at::Tensor& table);
/// dtable [positions, H] += drows.
void add_positions_backward(const at::Tensor& drows, std::span<const int32_t> positions,
                            at::Tensor& dtable);

// Norms and biases.

/// x [N, H] -> y [N, H], which may be x; rstd [N, 1].
void norm(const Norm& norm, const at::Tensor& x, at::Tensor& y, const at::Tensor& rstd);
/// dy [N, H] -> dx [N, H], written or added; adds to `dnorm`.
void norm_backward(const Norm& norm, const at::Tensor& x, const at::Tensor& rstd,
                   const at::Tensor& dy, at::Tensor& dx, kernels::Output output, Norm& dnorm);
/// rows [N, n] += bias [n].
void add_bias(at::Tensor& rows, const at::Tensor& bias);
/// dbias [n] += the sum of rows [N, n].
void add_column_sums(const at::Tensor& rows, at::Tensor& dbias);

// Attention.

/// Norms of q and k where the model has them, and their rotation: qkv [T, F] -> qk, [T, (Q + K) D]
/// or qkv itself; rstd of the norms [T, Q + K], [T, 2] over all heads together. Collective over the
/// tensor ranks where the norm is whole.
void prepare_qkv(const AttentionHeads& heads, const HeadNorms& norms, const RopeTable& rope,
                 const PackedRows& rows, const at::Tensor& qkv, at::Tensor& qk,
                 const at::Tensor& rstd);
/// dqkv [T, F]: by qk on entry, by q and k of qkv on return; adds to `dnorms`. Collective likewise.
void prepare_qkv_backward(const AttentionHeads& heads, const HeadNorms& norms,
                          const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                          const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms);
/// Causal attention of packed sequences among themselves. q and k are the first columns of `qk`, v
/// the last of qkv [T, F] -> out [T, Q D], logsumexp [T, Q].
void attend(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
            const at::Tensor& qkv, at::Tensor& out, const at::Tensor& logsumexp);
/// dout [T, Q D] -> dqkv [T, F].
void attend_backward(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
                     const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
                     const at::Tensor& dout, at::Tensor& dqkv);
/// The same with the tokens of earlier passes: keys and values of the rows, the last ones of each
/// sequence, go to its pages, and each row sees its whole context. One row a sequence is a decoding
/// step, as many as the context a fresh prompt; what a row gives depends on no other sequence.
void attend_cached(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qkv,
                   PagedCache& cache, at::Tensor& out);
/// Whether attend_step() does it: a step of a GPU whose lists only that has (StepInput), of a model
/// without a norm over all heads together.
bool is_for_attend_step(const HeadNorms& norms, const PagedCache& cache);
/// What prepare_qkv() and attend_cached() do one after the other, and the bias [F] before them
/// where defined, in one kernel and with the same bits, of one new token of each sequence. qkv [T,
/// F]: the product alone; not written.
void attend_step(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& bias,
                 const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                 PagedCache& cache, at::Tensor& out);
/// Of a pass of sequences cut at `cu_seqlens`, on the GPU of `like`.
CacheRows cache_rows(const std::vector<int32_t>& cu_seqlens, const PagedCache& cache,
                     const at::Tensor& like);

// MLP and experts.

/// up [N, 2 I] gate and up, or [N, I] without a gate -> out [N, I].
void activate(ActivationFunction function, const at::Tensor& up, at::Tensor& out);
/// dgated [N, I] on entry by the output, on return the output again. up: on return its gradient.
void activate_backward(ActivationFunction function, at::Tensor& up, at::Tensor& dgated);
/// logits [N, E], on return probabilities -> index, weight [N, G], the largest first, of equal ones
/// the lower index; the weights of a row sum to 1 with `normalise`.
void route(at::Tensor& logits, bool normalise, at::Tensor& index, at::Tensor& weight);
/// Gradient by the router's logits [N, E] from that by the weights of the chosen experts [N, G]:
/// on one tensor rank that of its own experts alone, all steps being linear in it.
void route_backward(const at::Tensor& probabilities, const at::Tensor& index,
                    const at::Tensor& weight, bool normalise, const BalanceLoss& balance,
                    const at::Tensor& dweight, at::Tensor& dlogits);
/// out [n, H] = these rows of x.
void take_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out);
/// These rows of out = x [n, H].
void put_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out);
/// out's row rows[i] += row i of x [n, H] times number places[i] of scales; undefined scales: 1.
void add_scaled_rows(const at::Tensor& x, std::span<const int64_t> rows, const at::Tensor& scales,
                     std::span<const int64_t> places, at::Tensor& out);

// Head.

/// Rows of logits [N, V] -> numbers of each [N] (kernels/token_log_probs.h).
struct TokenLogProbs {
  at::Tensor log_probs = {}, target_logits = {}, logsumexp = {}, entropy = {};
};
void token_log_probs(const at::Tensor& logits, std::span<const int64_t> targets,
                     double inverse_temperature, const TokenLogProbs& out);
/// logits: on return the gradient by them. `of`: logsumexp, and entropy with `dentropy`.
void token_log_probs_backward(at::Tensor& logits, std::span<const int64_t> targets,
                              double inverse_temperature, const TokenLogProbs& of,
                              const at::Tensor& dlog_probs, const at::Tensor& dentropy);
/// What draw_rows() needs for up to as many rows as `logits` [N, V] has.
at::Tensor draw_scratch(const at::Tensor& logits);
/// The next token of a sequence from each row of logits [N, V], which it changes. Waits for a GPU.
///   keys   [N] of the draws; position: tokens that the answer has
///   draws  [N], written; the entropy, in nats as token_log_probs has it, where it is to be
///   measured
void draw_rows(at::Tensor& logits, const kernels::SamplingRule& rule,
               std::span<const kernels::DrawKey> keys, bool measure_entropy,
               const at::Tensor& scratch, std::span<Draw> draws);

}  // namespace operators
}  // namespace orrery::model
