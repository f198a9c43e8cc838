// The operators of operators.h on CUDA tensors, which they pass on to these: own kernels
// (kernels/), whose addresses they are given on the current stream of the tensors' device. Lists
// that the host has (tokens, positions, rows) go up from pinned memory, so that no operator waits
// for the device but draw_rows(), and route_backward() with a balance loss. Private to src/model.
#pragma once

#include "operators.h"

namespace orrery::model::operators::cuda {

void look_up(const at::Tensor& table, const IndexRange& vocabulary, std::span<const int64_t> tokens,
             at::Tensor& out);
void look_up_backward(const at::Tensor& dout, const IndexRange& vocabulary,
                      std::span<const int64_t> tokens, at::Tensor& dtable);
void add_positions(at::Tensor& rows, std::span<const int32_t> positions, const at::Tensor& table);
void add_positions_backward(const at::Tensor& drows, std::span<const int32_t> positions,
                            at::Tensor& dtable);
void norm(const Norm& norm, const at::Tensor& x, at::Tensor& y, const at::Tensor& rstd);
void norm_backward(const Norm& norm, const at::Tensor& x, const at::Tensor& rstd,
                   const at::Tensor& dy, at::Tensor& dx, kernels::Output output, Norm& dnorm);
void add_column_sums(const at::Tensor& rows, at::Tensor& dbias);
void prepare_qkv(const AttentionHeads& heads, const HeadNorms& norms, const RopeTable& rope,
                 const PackedRows& rows, const at::Tensor& qkv, at::Tensor& qk,
                 const at::Tensor& rstd);
void prepare_qkv_backward(const AttentionHeads& heads, const HeadNorms& norms,
                          const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                          const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms);
PackedRows packed_rows(const std::vector<int32_t>& cu_seqlens, std::span<const int32_t> positions,
                       const at::Tensor& like);
void attend(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
            const at::Tensor& qkv, at::Tensor& out, const at::Tensor& logsumexp);
void attend_backward(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
                     const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
                     const at::Tensor& dout, at::Tensor& dqkv);
void attend_cached(const AttentionHeads& heads, const PackedRows& packed, const at::Tensor& qkv,
                   PagedCache& cache, at::Tensor& out);
void activate(ActivationFunction function, const at::Tensor& up, at::Tensor& out);
void activate_backward(ActivationFunction function, at::Tensor& up, at::Tensor& dgated);
void route(at::Tensor& logits, bool normalise, at::Tensor& index, at::Tensor& weight);
void route_backward(const at::Tensor& probabilities, const at::Tensor& index,
                    const at::Tensor& weight, bool normalise, const BalanceLoss& balance,
                    const at::Tensor& dweight, at::Tensor& dlogits);
void take_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out);
/// The same of rows [n] int64 that the GPU has, written or added; negative: zeros, or nothing
/// added.
void take_rows(const at::Tensor& x, const at::Tensor& rows, kernels::Output output,
               at::Tensor& out);
void put_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out);
void add_scaled_rows(const at::Tensor& x, std::span<const int64_t> rows, const at::Tensor& scales,
                     std::span<const int64_t> places, at::Tensor& out);
void token_log_probs(const at::Tensor& logits, std::span<const int64_t> targets,
                     double inverse_temperature, const TokenLogProbs& out);
/// The same of targets that the GPU has.
void token_log_probs(const at::Tensor& logits, const at::Tensor& targets,
                     double inverse_temperature, const TokenLogProbs& out);
void token_log_probs_backward(at::Tensor& logits, std::span<const int64_t> targets,
                              double inverse_temperature, const TokenLogProbs& of,
                              const at::Tensor& dlog_probs, const at::Tensor& dentropy);
at::Tensor draw_scratch(const at::Tensor& logits);
void draw_rows(at::Tensor& logits, const kernels::SamplingRule& rule,
               std::span<const kernels::DrawKey> keys, bool measure_entropy,
               const at::Tensor& scratch, std::span<Draw> draws);

/// What the GPU reads in each draw of up to N rows, or has room for.
struct DrawTables {
  at::Tensor scratch;                       // of draw_scratch()
  at::Tensor stop_ids, never_ids;           // int64
  at::Tensor no_targets = {};               // [N] int64 -1; undefined, like the two below,
  at::Tensor log_probs = {}, entropy = {};  // [N] where entropies are not measured
};
/// For as many rows as logits has.
DrawTables draw_tables(const at::Tensor& logits, const kernels::SamplingRule& rule,
                       bool measure_entropy, const at::Tensor& scratch);
/// draw_rows() without a wait: logits [N, V] and DrawKeys of N rows, bytes of the GPU -> drawn
/// [4, N] double: tokens (the bits of int64), log-probabilities of the policy and of the draw,
/// entropies. One block of memory, so that one copy brings it to the host.
void enqueue_draws(at::Tensor& logits, const kernels::SamplingRule& rule, const DrawTables& tables,
                   const at::Tensor& keys, at::Tensor& drawn);
/// drawn [4, N] on the host -> the draws of its first rows.
void read_draws(const at::Tensor& drawn, bool measure_entropy, std::span<Draw> draws);

}  // namespace orrery::model::operators::cuda
