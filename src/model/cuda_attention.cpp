// The operators of attention on GPUs: of packed sequences by flash attention in bf16, else plain;
// and over pages.
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/cat.h>

#include <optional>

#include "cuda_operators.h"
#include "cuda_tensors.h"
#include "dispatch.h"
#include "kernel_args.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/rotate_heads.h"
#include "orrery/kernels/write_pages.h"
#include "orrery/model/packed_tokens.h"  // longest_of

namespace orrery::model::operators::cuda {
namespace {

/// Of q or k over all heads together: its columns, and what its norm needs to know.
struct WholeHeads {
  int64_t first_column, width;
  int64_t whole_width;  // of all ranks, each head counted once
  int64_t copies;       // ranks that have the same heads
  at::Tensor weight;    // [width], as it multiplies

  at::Tensor of(const at::Tensor& rows) const { return rows.narrow(1, first_column, width); }
};

/// In the type that sums are made in; itself unless that is another one.
at::Tensor widened(const at::Tensor& x) { return x.to(arithmetic_type(x.scalar_type())); }

WholeHeads whole_queries(const AttentionHeads& heads, const HeadNorms& norms) {
  const int64_t width = heads.query_size();
  return {0, width, width * norms.ranks.size(), 1, widened(norms.q) + weight_offset(norms.kind)};
}

WholeHeads whole_keys(const AttentionHeads& heads, const HeadNorms& norms) {
  const int64_t width = heads.kv_size(), copies = norms.ranks.kv_copies;
  return {heads.query_size(), width, width * norms.ranks.size() / copies, copies,
          widened(norms.k) + weight_offset(norms.kind)};
}

/// [T, 2], summed over the tensor ranks.
at::Tensor summed(const at::Tensor& of_queries, const at::Tensor& of_keys, const HeadNorms& norms) {
  at::Tensor sums = at::cat({of_queries.sum(1, true), of_keys.sum(1, true)}, 1);
  if (norms.ranks.tensor != nullptr) {
    norms.ranks.tensor->all_reduce(sums, comm::ReduceOp::kSum);
  }
  return sums;
}

void norm_whole(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& qkv,
                at::Tensor& qk, const at::Tensor& rstd) {
  const WholeHeads queries = whole_queries(heads, norms), keys = whole_keys(heads, norms);
  const at::Tensor q = widened(queries.of(qkv)), k = widened(keys.of(qkv));
  const at::Tensor sums = summed(q * q, k * k, norms);
  const auto norm_part = [&](const WholeHeads& part, const at::Tensor& x, int64_t column) {
    const auto counted = static_cast<double>(part.whole_width * part.copies);
    const at::Tensor r = (sums.narrow(1, column, 1) / counted + norms.eps).pow(-0.5);
    part.of(qk).copy_(x * r * part.weight);
    if (rstd.defined()) rstd.narrow(1, column, 1).copy_(r);
  };
  norm_part(queries, q, 0);
  norm_part(keys, k, 1);
}

void norm_whole_backward(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& qkv,
                         const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms) {
  const WholeHeads queries = whole_queries(heads, norms), keys = whole_keys(heads, norms);
  const at::Tensor dq = widened(queries.of(dqkv)) * queries.weight;
  const at::Tensor dk = widened(keys.of(dqkv)) * keys.weight;
  const at::Tensor sums = summed(dq * widened(queries.of(qkv)), dk * widened(keys.of(qkv)), norms);
  const auto back = [&](const WholeHeads& part, const at::Tensor& weighted, int64_t column,
                        at::Tensor& dweight) {
    const at::Tensor x = widened(part.of(qkv)), r = rstd.narrow(1, column, 1);
    const at::Tensor gradient = part.of(dqkv);
    // Each of the ranks that have a head takes its share of what the others add to the mean.
    const auto counted = static_cast<double>(part.whole_width * part.copies);
    const at::Tensor mean = sums.narrow(1, column, 1) / counted;
    dweight.add_((widened(gradient) * x * r).sum(0));
    gradient.copy_((weighted - x * r * r * mean) * r);
  };
  back(queries, dq, 0, dnorms.q);
  back(keys, dk, 1, dnorms.k);
}

/// What rotation and the norms of single heads read; `is_normed`: those are part of it.
template <class T>
kernels::HeadsArgs<T> heads_args(const AttentionHeads& heads, const HeadNorms& norms,
                                 bool is_normed, const RopeTable& rope, const at::Tensor& positions,
                                 const at::Tensor& x, const at::Tensor& rstd) {
  return {.x = values<T>(x),
          .positions = values<int32_t>(positions),
          .cosines = values<Real<T>>(rope.cosines),
          .sines = values<Real<T>>(rope.sines),
          .query_weight = is_normed ? values<T>(norms.q) : nullptr,
          .key_weight = is_normed ? values<T>(norms.k) : nullptr,
          .rstd = is_normed ? mutable_values<Real<T>>(rstd) : nullptr,
          .n_tokens = x.size(0),
          .n_heads = heads.n_heads,
          .n_kv_heads = heads.n_kv_heads,
          .head_dim = heads.head_dim,
          .x_stride = x.size(1),
          .eps = norms.eps,
          .weight_offset = weight_offset(norms.kind)};
}

/// LibTorch's flash attention (Dao 2023), which computes these.
bool is_for_flash(const AttentionHeads& heads, const at::Tensor& qkv) {
  return qkv.scalar_type() == at::kBFloat16 && heads.head_dim % 8 == 0 && heads.head_dim <= 256;
}

/// q, k and v as it takes them: [T, heads, D] each, views of the fused rows.
struct FlashInput {
  at::Tensor q, k, v;
  std::optional<int64_t> left, right;  // tokens that a query sees on either side; unset: all

  FlashInput(const AttentionHeads& heads, const at::Tensor& qk, const at::Tensor& qkv)
      : q(part(qk, 0, heads.n_heads, heads.head_dim)),
        k(part(qk, heads.n_heads, heads.n_kv_heads, heads.head_dim)),
        v(part(qkv, heads.n_heads + heads.n_kv_heads, heads.n_kv_heads, heads.head_dim)) {
    if (heads.window == 0) return;
    left = heads.window - 1;
    right = 0;
  }

  static at::Tensor part(const at::Tensor& rows, int64_t first, int64_t n_heads, int64_t dim) {
    return rows.narrow(1, first * dim, n_heads * dim).view({rows.size(0), n_heads, dim});
  }
};

/// Whether no sequence of a pass has tokens of earlier ones. Of a step whose lists only the GPU has
/// (StepInput) all have.
bool is_fresh(const PackedRows& rows, const PagedCache& cache) {
  if (cache.n_context.empty()) return false;
  for (size_t s = 0; s < cache.n_context.size(); ++s) {
    if (rows.cu_seqlens[s + 1] - rows.cu_seqlens[s] != cache.n_context[s]) return false;
  }
  return true;
}

void attend_by_flash(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
                     const at::Tensor& qkv, at::Tensor& out, const at::Tensor& logsumexp) {
  const FlashInput in(heads, qk, qkv);
  const auto result = at::_flash_attention_forward(
      in.q, in.k, in.v, rows.gpu_cu_seqlens, rows.gpu_cu_seqlens, rows.longest, rows.longest,
      /*dropout_p=*/0, /*is_causal=*/true, /*return_debug_mask=*/false, heads.scale, in.left,
      in.right);
  out.copy_(std::get<0>(result).view(out.sizes()));
  // Heads first: nobody but its backward pass reads it.
  if (logsumexp.defined()) logsumexp.view({-1}).copy_(std::get<1>(result).reshape({-1}));
}

void attend_backward_by_flash(const AttentionHeads& heads, const PackedRows& rows,
                              const at::Tensor& qk, const at::Tensor& qkv, const at::Tensor& out,
                              const at::Tensor& logsumexp, const at::Tensor& dout,
                              at::Tensor& dqkv) {
  const FlashInput in(heads, qk, qkv);
  const at::Tensor no_dropout = at::empty({2}, qkv.options().dtype(at::kUInt64));
  const auto [dq, dk, dv] = at::_flash_attention_backward(
      dout.view(in.q.sizes()), in.q, in.k, in.v, out.view(in.q.sizes()),
      logsumexp.view({heads.n_heads, -1}), rows.gpu_cu_seqlens, rows.gpu_cu_seqlens, rows.longest,
      rows.longest, /*dropout_p=*/0, /*is_causal=*/true, no_dropout, no_dropout, heads.scale,
      in.left, in.right);
  const FlashInput to(heads, dqkv, dqkv);
  to.q.copy_(dq);
  to.k.copy_(dk);
  to.v.copy_(dv);
}

/// Keys and values of the rows to their pages.
void write_pages(const AttentionHeads& heads, const at::Tensor& qkv, PagedCache& cache) {
  const CacheRows& rows = cache.rows;
  with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    const T* const k = values<T>(qkv) + heads.query_size();
    kernels::write_pages_cuda<T>({.k = k,
                                  .v = k + heads.kv_size(),
                                  .kv_stride = qkv.size(1),
                                  .pages = mutable_values<T>(cache.pages),
                                  .page_table = values<int32_t>(rows.page_table),
                                  .table_stride = rows.page_table.size(1),
                                  .table_rows = values<int32_t>(rows.sequence),
                                  .n_context = values<int32_t>(rows.n_context),
                                  .n_tokens = qkv.size(0),
                                  .n_kv_heads = heads.n_kv_heads,
                                  .head_dim = heads.head_dim},
                                 stream_of(qkv));
  });
}

/// Attention of rows of qkv over their pages.
template <class T>
kernels::DecodeAttentionArgs<T> paged_args(const AttentionHeads& heads, const at::Tensor& qkv,
                                           const PagedCache& cache, const at::Tensor& out) {
  const CacheRows& rows = cache.rows;
  return {.q = values<T>(qkv),
          .q_stride = qkv.size(1),
          .pages = values<T>(cache.pages),
          .page_table = values<int32_t>(rows.page_table),
          .table_stride = rows.page_table.size(1),
          .table_rows = values<int32_t>(rows.sequence),
          .n_context = values<int32_t>(rows.n_context),
          .out = mutable_values<T>(out),
          .out_stride = out.size(1),
          .n_sequences = qkv.size(0),
          .n_heads = heads.n_heads,
          .n_kv_heads = heads.n_kv_heads,
          .head_dim = heads.head_dim,
          .window = heads.window,
          .scale = heads.scale};
}

template <class T>
kernels::AttentionParts<T> parts_of(const PagedCache& cache) {
  return {.partials = mutable_values<Real<T>>(cache.scratch),
          .n_done = mutable_values<int32_t>(cache.n_done),
          .n_rows = cache.n_done.size(0)};
}

kernels::AttentionShape shape_of(const AttentionHeads& heads, const at::Tensor& cu_seqlens,
                                 int64_t n_tokens) {
  kernels::AttentionShape shape =
      attention_shape(heads, values<int32_t>(cu_seqlens), cu_seqlens.numel() - 1);
  shape.n_tokens = n_tokens;
  return shape;
}

}  // namespace

PackedRows packed_rows(const std::vector<int32_t>& cu_seqlens, std::span<const int32_t> positions,
                       const at::Tensor& like) {
  return {cu_seqlens, positions, uploaded<int32_t>(cu_seqlens, like), uploaded(positions, like),
          longest_of(cu_seqlens)};
}

void prepare_qkv(const AttentionHeads& heads, const HeadNorms& norms, const RopeTable& rope,
                 const PackedRows& rows, const at::Tensor& qkv, at::Tensor& qk,
                 const at::Tensor& rstd) {
  const bool has_whole_norm = norms.defined() && norms.is_whole;
  const bool has_head_norms = norms.defined() && !norms.is_whole;
  if (has_whole_norm) norm_whole(heads, norms, qkv, qk, rstd);
  if (!has_head_norms && !rope.cosines.defined()) return;
  const at::Tensor& x = has_whole_norm ? qk : qkv;
  with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    kernels::rotate_heads_cuda<T>(
        {.heads = heads_args<T>(heads, norms, has_head_norms, rope, rows.gpu_positions, x, rstd),
         .y = mutable_values<T>(qk),
         .y_stride = qk.size(1)},
        stream_of(qkv));
  });
}

void prepare_qkv_backward(const AttentionHeads& heads, const HeadNorms& norms,
                          const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                          const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms) {
  const bool has_head_norms = norms.defined() && !norms.is_whole;
  if (has_head_norms || rope.cosines.defined()) {
    const at::Tensor scratch = at::empty(
        {kernels::rotate_heads_backward_scratch(qkv.size(0), heads.head_dim)}, sums_of(qkv));
    with_gpu_type(qkv.scalar_type(), [&]<class T>() {
      kernels::rotate_heads_backward_cuda<T>(
          {.heads =
               heads_args<T>(heads, norms, has_head_norms, rope, rows.gpu_positions, qkv, rstd),
           .gradient = mutable_values<T>(dqkv),
           .gradient_stride = dqkv.size(1),
           .dquery_weight = has_head_norms ? mutable_values<Real<T>>(dnorms.q) : nullptr,
           .dkey_weight = has_head_norms ? mutable_values<Real<T>>(dnorms.k) : nullptr,
           .scratch = mutable_values<Real<T>>(scratch)},
          stream_of(qkv));
    });
  }
  if (norms.defined() && norms.is_whole) {
    norm_whole_backward(heads, norms, qkv, rstd, dqkv, dnorms);
  }
}

void attend(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
            const at::Tensor& qkv, at::Tensor& out, const at::Tensor& logsumexp) {
  if (is_for_flash(heads, qkv)) return attend_by_flash(heads, rows, qk, qkv, out, logsumexp);
  with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    kernels::varlen_attention_cuda<T>(
        attention_args<T>(heads, shape_of(heads, rows.gpu_cu_seqlens, qkv.size(0)), qk, qkv, out,
                          logsumexp),
        stream_of(qkv));
  });
}

void attend_backward(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
                     const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
                     const at::Tensor& dout, at::Tensor& dqkv) {
  if (is_for_flash(heads, qkv)) {
    return attend_backward_by_flash(heads, rows, qk, qkv, out, logsumexp, dout, dqkv);
  }
  with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    kernels::varlen_attention_backward_cuda<T>(
        attention_backward_args<T>(heads, shape_of(heads, rows.gpu_cu_seqlens, qkv.size(0)), qk,
                                   qkv, out, logsumexp, dout, dqkv),
        stream_of(qkv));
  });
}

/// All rows over pages, each as if it were alone: a decoding step, a prompt and a resumed sequence
/// go the same way. But for prompts that flash attention computes, which have no other context.
void attend_cached(const AttentionHeads& heads, const PackedRows& packed, const at::Tensor& qkv,
                   PagedCache& cache, at::Tensor& out) {
  write_pages(heads, qkv, cache);
  if (is_for_flash(heads, qkv) && is_fresh(packed, cache)) {
    return attend_by_flash(heads, packed, qkv, qkv, out, {});
  }
  with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    kernels::decode_attention_cuda<T>(paged_args<T>(heads, qkv, cache, out), parts_of<T>(cache),
                                      stream_of(qkv));
  });
}

}  // namespace orrery::model::operators::cuda

namespace orrery::model::operators {

bool is_for_attend_step(const HeadNorms& norms, const PagedCache& cache) {
  return cache.rows.n_context.defined() && cache.n_context.empty() &&
         !(norms.defined() && norms.is_whole);
}

void attend_step(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& bias,
                 const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                 PagedCache& cache, at::Tensor& out) {
  cuda::with_gpu_type(qkv.scalar_type(), [&]<class T>() {
    kernels::decode_new_tokens_cuda<T>(
        cuda::paged_args<T>(heads, qkv, cache, out),
        {.heads =
             cuda::heads_args<T>(heads, norms, norms.defined(), rope, rows.gpu_positions, qkv, {}),
         .bias = values<T>(bias),
         .pages = mutable_values<T>(cache.pages)},
        cuda::parts_of<T>(cache), stream_of(qkv));
  });
}

CacheRows cache_rows(const std::vector<int32_t>& cu_seqlens, const PagedCache& cache,
                     const at::Tensor& like) {
  const size_t n = cache.n_context.size();
  std::vector<int32_t> sequence, n_context;
  for (size_t s = 0; s < n; ++s) {
    const int32_t n_rows = cu_seqlens[s + 1] - cu_seqlens[s];
    sequence.insert(sequence.end(), static_cast<size_t>(n_rows), static_cast<int32_t>(s));
    for (int32_t i = 1; i <= n_rows; ++i) n_context.push_back(cache.n_context[s] - n_rows + i);
  }
  const std::span table(cache.page_table, n * static_cast<size_t>(cache.table_stride));
  return {.page_table = uploaded(table, like).view({-1, cache.table_stride}),
          .sequence = uploaded<int32_t>(sequence, like),
          .n_context = uploaded<int32_t>(n_context, like)};
}

}  // namespace orrery::model::operators
