// The operators of attention on CPUs, from the norms of its heads to its output.
#include "cuda_operators.h"
#include "dispatch.h"
#include "kernel_args.h"
#include "operators.h"
#include "orrery/base/index.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "row_norm.h"

namespace orrery::model::operators {
namespace {

int64_t n_sequences(const std::vector<int32_t>& cu_seqlens) {
  return static_cast<int64_t>(cu_seqlens.size()) - 1;
}

/// One norm over each of `n_heads` heads, from `first_head` of q, k on.
template <class T>
void norm_each_head(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& weight,
                    int64_t first_head, int64_t n_heads, const at::Tensor& qkv, at::Tensor& qk,
                    const at::Tensor& rstd) {
  const NormScale<T> scale(norms.kind, values<T>(weight), heads.head_dim);
  // The kernel writes rstd rows of n_groups; q and k have rows of their own in it.
  T* const rstds = mutable_values<T>(rstd);
  kernels::rms_norm<T>({.x = values<T>(qkv) + first_head * heads.head_dim,
                        .weight = scale.data(),
                        .y = mutable_values<T>(qk) + first_head * heads.head_dim,
                        .rstd = rstds == nullptr ? nullptr : rstds + first_head * qkv.size(0),
                        .n_tokens = qkv.size(0),
                        .n_groups = n_heads,
                        .width = heads.head_dim,
                        .x_stride = qkv.size(1),
                        .y_stride = qk.size(1),
                        .eps = norms.eps});
}

template <class T>
void norm_each_head_backward(const AttentionHeads& heads, const HeadNorms& norms,
                             const at::Tensor& weight, int64_t first_head, int64_t n_heads,
                             const at::Tensor& qkv, const at::Tensor& rstd, at::Tensor& dqkv,
                             at::Tensor& dweight) {
  const NormScale<T> scale(norms.kind, values<T>(weight), heads.head_dim);
  T* const gradient = mutable_values<T>(dqkv) + first_head * heads.head_dim;
  kernels::rms_norm_backward<T>({.x = values<T>(qkv) + first_head * heads.head_dim,
                                 .weight = scale.data(),
                                 .rstd = values<T>(rstd) + first_head * qkv.size(0),
                                 .dy = gradient,
                                 .dx = gradient,
                                 .dweight = mutable_values<T>(dweight),
                                 .n_tokens = qkv.size(0),
                                 .n_groups = n_heads,
                                 .width = heads.head_dim,
                                 .x_stride = qkv.size(1),
                                 .dy_stride = qkv.size(1),
                                 .dx_stride = qkv.size(1),
                                 .dx_output = kernels::Output::kOverwrite});
}

/// The norms of q and k.
template <class T>
void norm_heads(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& qkv,
                at::Tensor& qk, const at::Tensor& rstd) {
  if (!norms.is_whole) {
    norm_each_head<T>(heads, norms, norms.q, 0, heads.n_heads, qkv, qk, rstd);
    norm_each_head<T>(heads, norms, norms.k, heads.n_heads, heads.n_kv_heads, qkv, qk, rstd);
    return;
  }
  norm_whole<T>({.kind = norms.kind,
                 .x = values<T>(qkv),
                 .x_stride = qkv.size(1),
                 .q_weight = values<T>(norms.q),
                 .k_weight = values<T>(norms.k),
                 .y = mutable_values<T>(qk),
                 .y_stride = qk.size(1),
                 .rstd = mutable_values<T>(rstd),
                 .n_tokens = qkv.size(0),
                 .q_width = heads.query_size(),
                 .k_width = heads.kv_size(),
                 .eps = norms.eps,
                 .ranks = norms.ranks});
}

template <class T>
void norm_heads_backward(const AttentionHeads& heads, const HeadNorms& norms, const at::Tensor& qkv,
                         const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms) {
  if (!norms.is_whole) {
    norm_each_head_backward<T>(heads, norms, norms.q, 0, heads.n_heads, qkv, rstd, dqkv, dnorms.q);
    norm_each_head_backward<T>(heads, norms, norms.k, heads.n_heads, heads.n_kv_heads, qkv, rstd,
                               dqkv, dnorms.k);
    return;
  }
  norm_whole_backward<T>({.kind = norms.kind,
                          .x = values<T>(qkv),
                          .x_stride = qkv.size(1),
                          .q_weight = values<T>(norms.q),
                          .k_weight = values<T>(norms.k),
                          .rstd = values<T>(rstd),
                          .gradient = mutable_values<T>(dqkv),
                          .gradient_stride = qkv.size(1),
                          .dq_weight = mutable_values<T>(dnorms.q),
                          .dk_weight = mutable_values<T>(dnorms.k),
                          .n_tokens = qkv.size(0),
                          .q_width = heads.query_size(),
                          .k_width = heads.kv_size(),
                          .ranks = norms.ranks});
}

/// q and k, the first columns of `qk`, turned in place.
template <class T>
void rotate(const AttentionHeads& heads, const RopeTable& rope, std::span<const int32_t> positions,
            kernels::Rotation rotation, at::Tensor& qk) {
  if (!rope.cosines.defined()) return;
  kernels::rope<T>({.x = mutable_values<T>(qk),
                    .positions = positions.data(),
                    .cosines = values<T>(rope.cosines),
                    .sines = values<T>(rope.sines),
                    .n_tokens = qk.size(0),
                    .n_heads = heads.n_heads + heads.n_kv_heads,
                    .head_dim = heads.head_dim,
                    .x_stride = qk.size(1),
                    .rotation = rotation});
}

/// Rows `first` to `end` of the pass, tokens `position` and on of a sequence, into its pages.
template <class T>
void write_pages(const AttentionHeads& heads, const at::Tensor& qkv, int64_t first, int64_t end,
                 int64_t position, const int32_t* page_table, at::Tensor& pages) {
  constexpr int64_t kPage = kernels::kPageTokens;
  const int64_t stride = qkv.size(1), page_numbers = pages.size(1);
  T* const cache = mutable_values<T>(pages);
  for (int64_t row = first; row < end; ++row, ++position) {
    const T* k = values<T>(qkv) + row * stride + heads.query_size();
    kernels::write_page_slot<T>({.k = k,
                                 .v = k + heads.kv_size(),
                                 .page = cache + page_table[position / kPage] * page_numbers,
                                 .slot = position % kPage,
                                 .n_kv_heads = heads.n_kv_heads,
                                 .head_dim = heads.head_dim});
  }
}

/// One row of each of `n` sequences over its pages, from row `row` on.
template <class T>
void attend_pages(const AttentionHeads& heads, const PagedCache& cache, const at::Tensor& qkv,
                  int64_t row, int64_t n, const int32_t* page_table, const int32_t* n_context,
                  at::Tensor& out) {
  kernels::decode_attention<T>({.q = values<T>(qkv) + row * qkv.size(1),
                                .q_stride = qkv.size(1),
                                .pages = values<T>(cache.pages),
                                .page_table = page_table,
                                .table_stride = cache.table_stride,
                                .n_context = n_context,
                                .out = mutable_values<T>(out) + row * out.size(1),
                                .out_stride = out.size(1),
                                .scratch = mutable_values<T>(cache.scratch),
                                .n_sequences = n,
                                .n_heads = heads.n_heads,
                                .n_kv_heads = heads.n_kv_heads,
                                .head_dim = heads.head_dim,
                                .window = heads.window,
                                .scale = heads.scale});
}

}  // namespace

PackedRows packed_rows(const std::vector<int32_t>& cu_seqlens, std::span<const int32_t> positions,
                       const at::Tensor& like) {
  if (like.is_cuda()) return cuda::packed_rows(cu_seqlens, positions, like);
  return {cu_seqlens, positions};
}

void prepare_qkv(const AttentionHeads& heads, const HeadNorms& norms, const RopeTable& rope,
                 const PackedRows& rows, const at::Tensor& qkv, at::Tensor& qk,
                 const at::Tensor& rstd) {
  if (qkv.is_cuda()) return cuda::prepare_qkv(heads, norms, rope, rows, qkv, qk, rstd);
  with_type(qkv.scalar_type(), [&]<class T>() {
    if (norms.defined()) norm_heads<T>(heads, norms, qkv, qk, rstd);
    rotate<T>(heads, rope, rows.positions, kernels::Rotation::kForward, qk);
  });
}

void prepare_qkv_backward(const AttentionHeads& heads, const HeadNorms& norms,
                          const RopeTable& rope, const PackedRows& rows, const at::Tensor& qkv,
                          const at::Tensor& rstd, at::Tensor& dqkv, HeadNorms& dnorms) {
  if (qkv.is_cuda())
    return cuda::prepare_qkv_backward(heads, norms, rope, rows, qkv, rstd, dqkv, dnorms);
  with_type(qkv.scalar_type(), [&]<class T>() {
    rotate<T>(heads, rope, rows.positions, kernels::Rotation::kBackward, dqkv);
    if (norms.defined()) norm_heads_backward<T>(heads, norms, qkv, rstd, dqkv, dnorms);
  });
}

void attend(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
            const at::Tensor& qkv, at::Tensor& out, const at::Tensor& logsumexp) {
  if (qkv.is_cuda()) return cuda::attend(heads, rows, qk, qkv, out, logsumexp);
  with_type(qkv.scalar_type(), [&]<class T>() {
    kernels::varlen_attention<T>(attention_args<T>(
        heads, attention_shape(heads, rows.cu_seqlens.data(), n_sequences(rows.cu_seqlens)), qk,
        qkv, out, logsumexp));
  });
}

void attend_backward(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qk,
                     const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
                     const at::Tensor& dout, at::Tensor& dqkv) {
  if (qkv.is_cuda()) return cuda::attend_backward(heads, rows, qk, qkv, out, logsumexp, dout, dqkv);
  with_type(qkv.scalar_type(), [&]<class T>() {
    kernels::varlen_attention_backward<T>(attention_backward_args<T>(
        heads, attention_shape(heads, rows.cu_seqlens.data(), n_sequences(rows.cu_seqlens)), qk,
        qkv, out, logsumexp, dout, dqkv));
  });
}

void attend_cached(const AttentionHeads& heads, const PackedRows& rows, const at::Tensor& qkv,
                   PagedCache& cache, at::Tensor& out) {
  if (qkv.is_cuda()) return cuda::attend_cached(heads, rows, qkv, cache, out);
  const std::vector<int32_t>& cu_seqlens = rows.cu_seqlens;
  const int64_t n = n_sequences(cu_seqlens);
  const auto n_rows = [&](int64_t s) {
    return cu_seqlens[static_cast<size_t>(s) + 1] - cu_seqlens[base::index(s)];
  };
  const auto n_context = [&](int64_t s) { return cache.n_context[base::index(s)]; };
  // Which kernel a sequence's rows go through depends on that sequence alone; neighbours of one
  // kind go together.
  const auto is_fresh = [&](int64_t s) { return n_rows(s) == n_context(s); };
  with_type(qkv.scalar_type(), [&]<class T>() {
    for (int64_t s = 0; s < n; ++s) {
      write_pages<T>(heads, qkv, cu_seqlens[base::index(s)], cu_seqlens[static_cast<size_t>(s) + 1],
                     n_context(s) - n_rows(s), cache.page_table + s * cache.table_stride,
                     cache.pages);
    }
    for (int64_t s = 0, end = 0; s < n; s = end) {
      const int64_t row = cu_seqlens[base::index(s)];
      const int32_t* const table = cache.page_table + s * cache.table_stride;
      end = s + 1;
      if (is_fresh(s)) {
        while (end < n && is_fresh(end)) ++end;
        kernels::varlen_attention<T>(attention_args<T>(
            heads, attention_shape(heads, cu_seqlens.data() + s, end - s), qkv, qkv, out, {}));
      } else if (n_rows(s) == 1) {
        while (end < n && n_rows(end) == 1 && !is_fresh(end)) ++end;
        attend_pages<T>(heads, cache, qkv, row, end - s, table, cache.n_context.data() + s, out);
      } else {
        for (int32_t i = 0; i < n_rows(s); ++i) {
          const int32_t visible = n_context(s) - n_rows(s) + i + 1;
          attend_pages<T>(heads, cache, qkv, row + i, 1, table, &visible, out);
        }
      }
    }
  });
}

}  // namespace orrery::model::operators
