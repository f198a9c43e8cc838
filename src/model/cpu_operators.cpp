// The operators on CPUs: the kernels of kernels/, and plain loops for what no family spends time
// on.
#include <ATen/ops/zeros_like.h>

#include <algorithm>  // copy_n, fill_n

#include "activation_function.h"
#include "dispatch.h"
#include "operators.h"
#include "orrery/base/error.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/token_log_probs.h"
#include "orrery/kernels/varlen_attention.h"
#include "routing.h"
#include "row_norm.h"

namespace orrery::model::operators {
namespace {

kernels::AttentionShape shape_of(const AttentionHeads& heads, const int32_t* cu_seqlens,
                                 int64_t n_sequences) {
  return {.cu_seqlens = cu_seqlens,
          .n_sequences = n_sequences,
          .n_heads = heads.n_heads,
          .n_kv_heads = heads.n_kv_heads,
          .head_dim = heads.head_dim,
          .window = heads.window,
          .scale = heads.scale};
}

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

/// Rows [first, end) of packed sequences that have no tokens of earlier passes.
template <class T>
void attend_fresh(const AttentionHeads& heads, const kernels::AttentionShape& shape,
                  const at::Tensor& qkv, at::Tensor& out) {
  const T* q = values<T>(qkv);
  kernels::varlen_attention<T>({.shape = shape,
                                .q = q,
                                .k = q + heads.query_size(),
                                .v = q + heads.query_size() + heads.kv_size(),
                                .q_stride = qkv.size(1),
                                .k_stride = qkv.size(1),
                                .v_stride = qkv.size(1),
                                .out = mutable_values<T>(out),
                                .out_stride = out.size(1)});
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

/// dprobabilities [N, E] += the gradient of the balance loss.
template <class T>
void add_balance(const BalanceLoss& balance, const at::Tensor& index, at::Tensor& dprobabilities) {
  const int64_t n_experts = dprobabilities.size(1), per_token = index.size(1);
  const int64_t* chosen = index.const_data_ptr<int64_t>();
  T* d = mutable_values<T>(dprobabilities);
  for (size_t s = 0; s + 1 < balance.cu_seqlens.size(); ++s) {
    const int64_t first = balance.cu_seqlens[s], end = balance.cu_seqlens[s + 1];
    std::vector<double> counts(static_cast<size_t>(n_experts));
    for (int64_t i = first * per_token; i < end * per_token; ++i) {
      counts[static_cast<size_t>(chosen[i])] += 1;
    }
    const double scale =
        balance.weight * static_cast<double>(n_experts) / static_cast<double>(end - first);
    for (int64_t t = first; t < end; ++t) {
      for (int64_t e = 0; e < n_experts; ++e) {
        d[t * n_experts + e] += static_cast<T>(scale * counts[static_cast<size_t>(e)]);
      }
    }
  }
}

ActivationShape activation_shape(ActivationFunction function, const at::Tensor& up,
                                 const at::Tensor& gated) {
  return {.function = function,
          .is_gated = up.size(1) != gated.size(1),
          .n_rows = gated.size(0),
          .width = gated.size(1)};
}

}  // namespace

void look_up(const at::Tensor& table, const IndexRange& vocabulary, std::span<const int64_t> tokens,
             at::Tensor& out) {
  with_type(table.scalar_type(), [&]<class T>() {
    const int64_t width = table.size(1);
    const T* rows = values<T>(table);
    T* to = mutable_values<T>(out);
    for (const int64_t token : tokens) {
      const int64_t row = token - vocabulary.first;
      if (row >= 0 && row < vocabulary.count) {
        std::copy_n(rows + row * width, width, to);
      } else {
        std::fill_n(to, width, T(0));
      }
      to += width;
    }
  });
}

void look_up_backward(const at::Tensor& dout, const IndexRange& vocabulary,
                      std::span<const int64_t> tokens, at::Tensor& dtable) {
  with_type(dtable.scalar_type(), [&]<class T>() {
    const int64_t width = dtable.size(1);
    const T* from = values<T>(dout);
    T* rows = mutable_values<T>(dtable);
    for (const int64_t token : tokens) {
      const int64_t own = token - vocabulary.first;
      if (own >= 0 && own < vocabulary.count) {
        T* row = rows + own * width;
        for (int64_t i = 0; i < width; ++i) row[i] += from[i];
      }
      from += width;
    }
  });
}

void add_positions(at::Tensor& rows, std::span<const int32_t> positions, const at::Tensor& table) {
  with_type(rows.scalar_type(), [&]<class T>() {
    const int64_t width = rows.size(1);
    T* row = mutable_values<T>(rows);
    for (const int32_t position : positions) {
      const T* from = values<T>(table) + position * width;
      for (int64_t i = 0; i < width; ++i) row[i] += from[i];
      row += width;
    }
  });
}

void add_positions_backward(const at::Tensor& drows, std::span<const int32_t> positions,
                            at::Tensor& dtable) {
  with_type(drows.scalar_type(), [&]<class T>() {
    const int64_t width = drows.size(1);
    const T* row = values<T>(drows);
    for (const int32_t position : positions) {
      T* to = mutable_values<T>(dtable) + position * width;
      for (int64_t i = 0; i < width; ++i) to[i] += row[i];
      row += width;
    }
  });
}

void norm(const Norm& norm, const at::Tensor& x, at::Tensor& y, const at::Tensor& rstd) {
  with_type(x.scalar_type(), [&]<class T>() {
    norm_rows<T>({.kind = norm.kind,
                  .x = values<T>(x),
                  .weight = values<T>(norm.weight),
                  .bias = values<T>(norm.bias),
                  .y = mutable_values<T>(y),
                  .rstd = mutable_values<T>(rstd),
                  .n_rows = x.size(0),
                  .width = x.size(1),
                  .eps = norm.eps});
  });
}

void norm_backward(const Norm& norm, const at::Tensor& x, const at::Tensor& rstd,
                   const at::Tensor& dy, at::Tensor& dx, kernels::Output output, Norm& dnorm) {
  with_type(x.scalar_type(), [&]<class T>() {
    norm_rows_backward<T>({.kind = norm.kind,
                           .x = values<T>(x),
                           .weight = values<T>(norm.weight),
                           .rstd = values<T>(rstd),
                           .dy = values<T>(dy),
                           .dx = mutable_values<T>(dx),
                           .dweight = mutable_values<T>(dnorm.weight),
                           .dbias = mutable_values<T>(dnorm.bias),
                           .n_rows = x.size(0),
                           .width = x.size(1),
                           .dx_output = output});
  });
}

void add_bias(at::Tensor& rows, const at::Tensor& bias) {
  with_type(rows.scalar_type(), [&]<class T>() {
    const int64_t n = rows.size(1);
    const T* b = values<T>(bias);
    T* row = mutable_values<T>(rows);
    for (int64_t t = 0; t < rows.size(0); ++t, row += n) {
      for (int64_t i = 0; i < n; ++i) row[i] += b[i];
    }
  });
}

void add_column_sums(const at::Tensor& rows, at::Tensor& dbias) {
  with_type(rows.scalar_type(), [&]<class T>() {
    const int64_t n = rows.size(1);
    const T* row = values<T>(rows);
    T* sums = mutable_values<T>(dbias);
    for (int64_t t = 0; t < rows.size(0); ++t, row += n) {
      for (int64_t i = 0; i < n; ++i) sums[i] += row[i];
    }
  });
}

void prepare_qkv(const AttentionHeads& heads, const HeadNorms& norms, const RopeTable& rope,
                 std::span<const int32_t> positions, const at::Tensor& qkv, at::Tensor& qk,
                 const at::Tensor& rstd) {
  with_type(qkv.scalar_type(), [&]<class T>() {
    if (norms.defined()) norm_heads<T>(heads, norms, qkv, qk, rstd);
    rotate<T>(heads, rope, positions, kernels::Rotation::kForward, qk);
  });
}

void prepare_qkv_backward(const AttentionHeads& heads, const HeadNorms& norms,
                          const RopeTable& rope, std::span<const int32_t> positions,
                          const at::Tensor& qkv, const at::Tensor& rstd, at::Tensor& dqkv,
                          HeadNorms& dnorms) {
  with_type(qkv.scalar_type(), [&]<class T>() {
    rotate<T>(heads, rope, positions, kernels::Rotation::kBackward, dqkv);
    if (norms.defined()) norm_heads_backward<T>(heads, norms, qkv, rstd, dqkv, dnorms);
  });
}

void attend(const AttentionHeads& heads, const std::vector<int32_t>& cu_seqlens,
            const at::Tensor& qk, const at::Tensor& qkv, at::Tensor& out,
            const at::Tensor& logsumexp) {
  with_type(qkv.scalar_type(), [&]<class T>() {
    const T* q = values<T>(qk);
    kernels::varlen_attention<T>(
        {.shape = shape_of(heads, cu_seqlens.data(), n_sequences(cu_seqlens)),
         .q = q,
         .k = q + heads.query_size(),
         .v = values<T>(qkv) + heads.query_size() + heads.kv_size(),
         .q_stride = qk.size(1),
         .k_stride = qk.size(1),
         .v_stride = qkv.size(1),
         .out = mutable_values<T>(out),
         .out_stride = out.size(1),
         .logsumexp = mutable_values<T>(logsumexp)});
  });
}

void attend_backward(const AttentionHeads& heads, const std::vector<int32_t>& cu_seqlens,
                     const at::Tensor& qk, const at::Tensor& qkv, const at::Tensor& out,
                     const at::Tensor& logsumexp, const at::Tensor& dout, at::Tensor& dqkv) {
  with_type(qkv.scalar_type(), [&]<class T>() {
    const T* q = values<T>(qk);
    T* dq = mutable_values<T>(dqkv);
    kernels::varlen_attention_backward<T>(
        {.shape = shape_of(heads, cu_seqlens.data(), n_sequences(cu_seqlens)),
         .q = q,
         .k = q + heads.query_size(),
         .v = values<T>(qkv) + heads.query_size() + heads.kv_size(),
         .q_stride = qk.size(1),
         .k_stride = qk.size(1),
         .v_stride = qkv.size(1),
         .out = values<T>(out),
         .dout = values<T>(dout),
         .out_stride = out.size(1),
         .dout_stride = dout.size(1),
         .logsumexp = values<T>(logsumexp),
         .dq = dq,
         .dk = dq + heads.query_size(),
         .dv = dq + heads.query_size() + heads.kv_size(),
         .dq_stride = dqkv.size(1),
         .dk_stride = dqkv.size(1),
         .dv_stride = dqkv.size(1)});
  });
}

void attend_cached(const AttentionHeads& heads, const std::vector<int32_t>& cu_seqlens,
                   const at::Tensor& qkv, PagedCache& cache, at::Tensor& out) {
  const int64_t n = n_sequences(cu_seqlens);
  const auto n_rows = [&](int64_t s) {
    return cu_seqlens[static_cast<size_t>(s) + 1] - cu_seqlens[static_cast<size_t>(s)];
  };
  const auto n_context = [&](int64_t s) { return cache.n_context[static_cast<size_t>(s)]; };
  // Which kernel a sequence's rows go through depends on that sequence alone; neighbours of one
  // kind go together.
  const auto is_fresh = [&](int64_t s) { return n_rows(s) == n_context(s); };
  with_type(qkv.scalar_type(), [&]<class T>() {
    for (int64_t s = 0; s < n; ++s) {
      write_pages<T>(heads, qkv, cu_seqlens[static_cast<size_t>(s)],
                     cu_seqlens[static_cast<size_t>(s) + 1], n_context(s) - n_rows(s),
                     cache.page_table + s * cache.table_stride, cache.pages);
    }
    for (int64_t s = 0, end = 0; s < n; s = end) {
      const int64_t row = cu_seqlens[static_cast<size_t>(s)];
      const int32_t* const table = cache.page_table + s * cache.table_stride;
      end = s + 1;
      if (is_fresh(s)) {
        while (end < n && is_fresh(end)) ++end;
        attend_fresh<T>(heads, shape_of(heads, cu_seqlens.data() + s, end - s), qkv, out);
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

void activate(ActivationFunction function, const at::Tensor& up, at::Tensor& out) {
  with_type(up.scalar_type(), [&]<class T>() {
    apply_activation<T>(activation_shape(function, up, out), values<T>(up), mutable_values<T>(out));
  });
}

void activate_backward(ActivationFunction function, at::Tensor& up, at::Tensor& dgated) {
  with_type(up.scalar_type(), [&]<class T>() {
    apply_hidden_backward<T>(activation_shape(function, up, dgated), values<T>(up),
                             values<T>(dgated), mutable_values<T>(up), mutable_values<T>(dgated));
  });
}

void route(at::Tensor& logits, bool normalise, at::Tensor& index, at::Tensor& weight) {
  with_type(logits.scalar_type(), [&]<class T>() {
    model::route<T>({.logits = mutable_values<T>(logits),
                     .index = index.data_ptr<int64_t>(),
                     .weight = mutable_values<T>(weight),
                     .n_rows = logits.size(0),
                     .n_experts = logits.size(1),
                     .per_token = index.size(1),
                     .normalise = normalise});
  });
}

at::Tensor route_backward(const at::Tensor& probabilities, const at::Tensor& index,
                          const at::Tensor& weight, bool normalise, const BalanceLoss& balance,
                          const at::Tensor& dweight) {
  at::Tensor dlogits = at::zeros_like(probabilities);
  with_type(probabilities.scalar_type(), [&]<class T>() {
    const int64_t n_experts = probabilities.size(1), per_token = index.size(1);
    if (balance.weight != 0) add_balance<T>(balance, index, dlogits);
    for (int64_t t = 0; t < index.size(0); ++t) {
      const int64_t* chosen = index.const_data_ptr<int64_t>() + t * per_token;
      const T* w = values<T>(weight) + t * per_token;
      const T* dw = values<T>(dweight) + t * per_token;
      const T* p = values<T>(probabilities) + t * n_experts;
      T* dp = mutable_values<T>(dlogits) + t * n_experts;
      T sum = 0, product = 0;
      for (int64_t k = 0; k < per_token; ++k) {
        sum += p[chosen[k]];
        product += dw[k] * w[k];
      }
      for (int64_t k = 0; k < per_token; ++k) {
        dp[chosen[k]] += normalise ? (dw[k] - product) / sum : dw[k];
      }
      T mean = 0;
      for (int64_t e = 0; e < n_experts; ++e) mean += p[e] * dp[e];
      for (int64_t e = 0; e < n_experts; ++e) dp[e] = p[e] * (dp[e] - mean);
    }
  });
  return dlogits;
}

void take_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out) {
  with_type(x.scalar_type(), [&]<class T>() {
    const int64_t width = x.size(1);
    T* to = mutable_values<T>(out);
    for (const int64_t row : rows) {
      std::copy_n(values<T>(x) + row * width, width, to);
      to += width;
    }
  });
}

void put_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out) {
  with_type(x.scalar_type(), [&]<class T>() {
    const int64_t width = x.size(1);
    const T* from = values<T>(x);
    for (const int64_t row : rows) {
      std::copy_n(from, width, mutable_values<T>(out) + row * width);
      from += width;
    }
  });
}

void add_scaled_rows(const at::Tensor& x, std::span<const int64_t> rows, const at::Tensor& scales,
                     std::span<const int64_t> places, at::Tensor& out) {
  with_type(x.scalar_type(), [&]<class T>() {
    const int64_t width = x.size(1);
    const T* from = values<T>(x);
    const T* scale = values<T>(scales);
    for (size_t i = 0; i < rows.size(); ++i, from += width) {
      const T factor = scale == nullptr ? T(1) : scale[places[i]];
      T* sum = mutable_values<T>(out) + rows[i] * width;
      for (int64_t j = 0; j < width; ++j) sum[j] += factor * from[j];
    }
  });
}

void token_log_probs(const at::Tensor& logits, std::span<const int64_t> targets,
                     double inverse_temperature, const TokenLogProbs& out) {
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs<T>({.logits = values<T>(logits),
                                 .targets = targets.data(),
                                 .log_probs = mutable_values<T>(out.log_probs),
                                 .target_logits = mutable_values<T>(out.target_logits),
                                 .logsumexp = mutable_values<T>(out.logsumexp),
                                 .entropy = mutable_values<T>(out.entropy),
                                 .n_rows = logits.size(0),
                                 .vocab_size = logits.size(1),
                                 .inverse_temperature = inverse_temperature});
  });
}

void token_log_probs_backward(at::Tensor& logits, std::span<const int64_t> targets,
                              double inverse_temperature, const TokenLogProbs& of,
                              const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs_backward<T>({.logits = mutable_values<T>(logits),
                                          .targets = targets.data(),
                                          .logsumexp = values<T>(of.logsumexp),
                                          .entropy = values<T>(of.entropy),
                                          .dlog_probs = values<T>(dlog_probs),
                                          .dentropy = values<T>(dentropy),
                                          .n_rows = logits.size(0),
                                          .vocab_size = logits.size(1),
                                          .inverse_temperature = inverse_temperature});
  });
}

double row_entropy(const at::Tensor& logits, int64_t row, double inverse_temperature) {
  return with_type(logits.scalar_type(), [&]<class T>() {
    const int64_t no_target = -1;
    T log_prob = 0, entropy = 0;
    kernels::token_log_probs<T>({.logits = values<T>(logits) + row * logits.size(1),
                                 .targets = &no_target,
                                 .log_probs = &log_prob,
                                 .entropy = &entropy,
                                 .n_rows = 1,
                                 .vocab_size = logits.size(1),
                                 .inverse_temperature = inverse_temperature});
    return static_cast<double>(entropy);
  });
}

kernels::SampledToken draw(at::Tensor& logits, int64_t row, const kernels::SamplingRule& rule,
                           int64_t n_generated, double uniform, void* scratch) {
  return with_type(logits.scalar_type(), [&]<class T>() {
    const int64_t vocab_size = logits.size(1);
    const std::span<T> of_row(mutable_values<T>(logits) + row * vocab_size,
                              static_cast<size_t>(vocab_size));
    return kernels::sample_token<T>(of_row, rule, n_generated, uniform, scratch);
  });
}

}  // namespace orrery::model::operators
