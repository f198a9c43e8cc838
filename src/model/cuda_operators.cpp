#include "cuda_operators.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>  // stable_sort
#include <numeric>    // iota

#include "cuda_tensors.h"
#include "dispatch.h"
#include "kernel_args.h"
#include "orrery/base/index.h"
#include "orrery/kernels/activation.h"
#include "orrery/kernels/column_sums.h"
#include "orrery/kernels/indexed_rows.h"
#include "orrery/kernels/norm_rows.h"
#include "orrery/kernels/sample_rows.h"

namespace orrery::model::operators::cuda {
namespace {

/// Rows of one target each, for kernels::add_rows_cuda.
struct Segments {
  std::vector<int64_t> order, starts{0}, targets;

  /// `targets_of`: the target of each row; negative: none.
  explicit Segments(std::span<const int64_t> targets_of) : order(targets_of.size()) {
    const auto target = [&](int64_t row) { return targets_of[base::index(row)]; };
    std::iota(order.begin(), order.end(), int64_t{0});
    std::erase_if(order, [&](int64_t row) { return target(row) < 0; });
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return target(a) < target(b); });
    for (size_t i = 0; i < order.size(); ++i) {
      if (targets.empty() || targets.back() != target(order[i])) {
        if (i > 0) starts.push_back(static_cast<int64_t>(i));
        targets.push_back(target(order[i]));
      }
    }
    if (!order.empty()) starts.push_back(static_cast<int64_t>(order.size()));
  }
};

/// out's row targets_of[i] += row i of x, times number places[i] of scales where defined.
void add_rows(const at::Tensor& x, std::span<const int64_t> targets_of, const at::Tensor& scales,
              std::span<const int64_t> places, at::Tensor& out) {
  const Segments segments(targets_of);
  const at::Tensor order = uploaded<int64_t>(segments.order, x);
  const at::Tensor starts = uploaded<int64_t>(segments.starts, x);
  const at::Tensor targets = uploaded<int64_t>(segments.targets, x);
  const at::Tensor where = uploaded(places, x);
  const auto add = [&]<class T, class Sum>() {
    kernels::add_rows_cuda<T, Sum>({.x = values<T>(x),
                                    .order = values<int64_t>(order),
                                    .starts = values<int64_t>(starts),
                                    .targets = values<int64_t>(targets),
                                    .scales = values<Real<T>>(scales),
                                    .places = values<int64_t>(where),
                                    .out = mutable_values<Sum>(out),
                                    .n_segments = static_cast<int64_t>(segments.targets.size()),
                                    .width = x.size(1)},
                                   stream_of(x));
  };
  with_gpu_type(x.scalar_type(), [&]<class T>() {
    if (out.scalar_type() == x.scalar_type()) {
      add.template operator()<T, T>();
    } else {
      add.template operator()<T, Real<T>>();  // a gradient of bf16
    }
  });
}

void take(const at::Tensor& x, std::span<const int64_t> rows, kernels::Output output,
          at::Tensor& out) {
  take_rows(x, uploaded(rows, x), output, out);
}

/// Rows of a shard's part of the table; negative: another rank's.
std::vector<int64_t> own_rows(const IndexRange& vocabulary, std::span<const int64_t> tokens) {
  std::vector<int64_t> rows;
  rows.reserve(tokens.size());
  for (const int64_t token : tokens) {
    const int64_t row = token - vocabulary.first;
    rows.push_back(row < vocabulary.count ? std::max<int64_t>(row, -1) : -1);
  }
  return rows;
}

std::vector<int64_t> widened(std::span<const int32_t> numbers) {
  return {numbers.begin(), numbers.end()};
}

/// What the loss of balance has by each probability: of each sequence one row, and whose each is.
struct BalanceRows {
  std::vector<double> rows;       // [S, E]
  std::vector<int64_t> sequence;  // [T]

  BalanceRows(const BalanceLoss& balance, const at::Tensor& index, int64_t n_experts) {
    const at::Tensor chosen = index.cpu();
    const int64_t* const expert = chosen.const_data_ptr<int64_t>();
    const int64_t per_token = index.size(1);
    for (size_t s = 0; s + 1 < balance.cu_seqlens.size(); ++s) {
      const int64_t first = balance.cu_seqlens[s], end = balance.cu_seqlens[s + 1];
      const size_t row = rows.size();
      rows.resize(row + static_cast<size_t>(n_experts));
      const double scale =
          balance.weight * static_cast<double>(n_experts) / static_cast<double>(end - first);
      for (int64_t i = first * per_token; i < end * per_token; ++i) {
        rows[row + static_cast<size_t>(expert[i])] += scale;
      }
      sequence.insert(sequence.end(), static_cast<size_t>(end - first), static_cast<int64_t>(s));
    }
  }
};

}  // namespace

void look_up(const at::Tensor& table, const IndexRange& vocabulary, std::span<const int64_t> tokens,
             at::Tensor& out) {
  take(table, own_rows(vocabulary, tokens), kernels::Output::kOverwrite, out);
}

void look_up_backward(const at::Tensor& dout, const IndexRange& vocabulary,
                      std::span<const int64_t> tokens, at::Tensor& dtable) {
  add_rows(dout, own_rows(vocabulary, tokens), {}, {}, dtable);
}

void add_positions(at::Tensor& rows, std::span<const int32_t> positions, const at::Tensor& table) {
  take(table, widened(positions), kernels::Output::kAdd, rows);
}

void add_positions_backward(const at::Tensor& drows, std::span<const int32_t> positions,
                            at::Tensor& dtable) {
  add_rows(drows, widened(positions), {}, {}, dtable);
}

void norm(const Norm& norm, const at::Tensor& x, at::Tensor& y, const at::Tensor& rstd) {
  with_gpu_type(x.scalar_type(), [&]<class T>() {
    kernels::norm_rows_cuda<T>({.x = values<T>(x),
                                .weight = values<T>(norm.weight),
                                .bias = values<T>(norm.bias),
                                .y = mutable_values<T>(y),
                                .rstd = mutable_values<Real<T>>(rstd),
                                .n_rows = x.size(0),
                                .width = x.size(1),
                                .eps = norm.eps,
                                .weight_offset = weight_offset(norm.kind),
                                .is_centered = norm.kind == NormKind::kLayer},
                               stream_of(x));
  });
}

void norm_backward(const Norm& norm, const at::Tensor& x, const at::Tensor& rstd,
                   const at::Tensor& dy, at::Tensor& dx, kernels::Output output, Norm& dnorm) {
  const int64_t n_rows = x.size(0), width = x.size(1);
  const at::Tensor scratch =
      at::empty({kernels::norm_rows_backward_scratch(n_rows, width)}, sums_of(x));
  with_gpu_type(x.scalar_type(), [&]<class T>() {
    kernels::norm_rows_backward_cuda<T>({.x = values<T>(x),
                                         .weight = values<T>(norm.weight),
                                         .rstd = values<Real<T>>(rstd),
                                         .dy = values<T>(dy),
                                         .dx = mutable_values<T>(dx),
                                         .dweight = mutable_values<Real<T>>(dnorm.weight),
                                         .dbias = mutable_values<Real<T>>(dnorm.bias),
                                         .scratch = mutable_values<Real<T>>(scratch),
                                         .n_rows = n_rows,
                                         .width = width,
                                         .weight_offset = weight_offset(norm.kind),
                                         .is_centered = norm.kind == NormKind::kLayer,
                                         .dx_output = output},
                                        stream_of(x));
  });
}

void add_column_sums(const at::Tensor& rows, at::Tensor& dbias) {
  const at::Tensor scratch =
      at::empty({kernels::column_sums_scratch(rows.size(0), rows.size(1))}, sums_of(rows));
  with_gpu_type(rows.scalar_type(), [&]<class T>() {
    kernels::add_column_sums_cuda<T>({.rows = values<T>(rows),
                                      .sums = mutable_values<Real<T>>(dbias),
                                      .scratch = mutable_values<Real<T>>(scratch),
                                      .n_rows = rows.size(0),
                                      .width = rows.size(1)},
                                     stream_of(rows));
  });
}

void activate(ActivationFunction function, const at::Tensor& up, at::Tensor& out) {
  with_gpu_type(up.scalar_type(), [&]<class T>() {
    kernels::activate_cuda<T>({.up = values<T>(up),
                               .out = mutable_values<T>(out),
                               .n_rows = out.size(0),
                               .width = out.size(1),
                               .function = function,
                               .is_gated = up.size(1) != out.size(1)},
                              stream_of(up));
  });
}

void activate_backward(ActivationFunction function, at::Tensor& up, at::Tensor& dgated) {
  with_gpu_type(up.scalar_type(), [&]<class T>() {
    kernels::activate_backward_cuda<T>({.up = values<T>(up),
                                        .dout = values<T>(dgated),
                                        .dup = mutable_values<T>(up),
                                        .out = mutable_values<T>(dgated),
                                        .n_rows = dgated.size(0),
                                        .width = dgated.size(1),
                                        .function = function,
                                        .is_gated = up.size(1) != dgated.size(1)},
                                       stream_of(up));
  });
}

void route(at::Tensor& logits, bool normalise, at::Tensor& index, at::Tensor& weight) {
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::route_rows_cuda<T>(route_args<T>(logits, normalise, index, weight), stream_of(logits));
  });
}

void route_backward(const at::Tensor& probabilities, const at::Tensor& index,
                    const at::Tensor& weight, bool normalise, const BalanceLoss& balance,
                    const at::Tensor& dweight, at::Tensor& dlogits) {
  const int64_t n_experts = probabilities.size(1);
  dlogits.zero_();
  if (balance.weight != 0) {
    const BalanceRows of(balance, index, n_experts);
    const at::Tensor rows =
        uploaded<double>(of.rows, dlogits).to(dlogits.scalar_type()).view({-1, n_experts});
    take(rows, of.sequence, kernels::Output::kOverwrite, dlogits);
  }
  with_type(probabilities.scalar_type(), [&]<class T>() {
    kernels::route_rows_backward_cuda<T>({.probabilities = values<T>(probabilities),
                                          .index = values<int64_t>(index),
                                          .weight = values<T>(weight),
                                          .dweight = values<T>(dweight),
                                          .dlogits = mutable_values<T>(dlogits),
                                          .n_rows = probabilities.size(0),
                                          .n_experts = n_experts,
                                          .per_token = index.size(1),
                                          .normalise = normalise},
                                         stream_of(dlogits));
  });
}

void take_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out) {
  take(x, rows, kernels::Output::kOverwrite, out);
}

void take_rows(const at::Tensor& x, const at::Tensor& rows, kernels::Output output,
               at::Tensor& out) {
  with_gpu_type(x.scalar_type(), [&]<class T>() {
    kernels::take_rows_cuda<T>({.x = values<T>(x),
                                .rows = values<int64_t>(rows),
                                .out = mutable_values<T>(out),
                                .n_rows = rows.numel(),
                                .width = x.size(1),
                                .output = output},
                               stream_of(x));
  });
}

void put_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out) {
  const at::Tensor to = uploaded(rows, x);
  with_gpu_type(x.scalar_type(), [&]<class T>() {
    kernels::put_rows_cuda<T>({.x = values<T>(x),
                               .rows = values<int64_t>(to),
                               .out = mutable_values<T>(out),
                               .n_rows = static_cast<int64_t>(rows.size()),
                               .width = x.size(1)},
                              stream_of(x));
  });
}

void add_scaled_rows(const at::Tensor& x, std::span<const int64_t> rows, const at::Tensor& scales,
                     std::span<const int64_t> places, at::Tensor& out) {
  add_rows(x, rows, scales, places, out);
}

void token_log_probs(const at::Tensor& logits, const at::Tensor& targets,
                     double inverse_temperature, const TokenLogProbs& out) {
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs_cuda<T>(
        log_prob_args<T>(logits, values<int64_t>(targets), inverse_temperature, out),
        stream_of(logits));
  });
}

void token_log_probs(const at::Tensor& logits, std::span<const int64_t> targets,
                     double inverse_temperature, const TokenLogProbs& out) {
  token_log_probs(logits, uploaded(targets, logits), inverse_temperature, out);
}

void token_log_probs_backward(at::Tensor& logits, std::span<const int64_t> targets,
                              double inverse_temperature, const TokenLogProbs& of,
                              const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  const at::Tensor where = uploaded(targets, logits);
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs_backward_cuda<T>(
        log_prob_backward_args<T>(logits, values<int64_t>(where), inverse_temperature, of,
                                  dlog_probs, dentropy),
        stream_of(logits));
  });
}

at::Tensor draw_scratch(const at::Tensor& logits) {
  return at::empty({kernels::sample_rows_scratch_bytes(logits.size(0), logits.size(1))},
                   logits.options().dtype(at::kByte));
}

DrawTables draw_tables(const at::Tensor& logits, const kernels::SamplingRule& rule,
                       bool measure_entropy, const at::Tensor& scratch) {
  DrawTables tables{.scratch = scratch,
                    .stop_ids = uploaded(rule.stop_ids, logits),
                    .never_ids = uploaded(rule.never_ids, logits)};
  if (measure_entropy) {
    const std::vector<int64_t> no_targets(static_cast<size_t>(logits.size(0)), -1);
    tables.no_targets = uploaded<int64_t>(no_targets, logits);
    tables.log_probs = at::empty({logits.size(0)}, logits.options());
    tables.entropy = at::empty_like(tables.log_probs);
  }
  return tables;
}

void enqueue_draws(at::Tensor& logits, const kernels::SamplingRule& rule, const DrawTables& tables,
                   const at::Tensor& keys, at::Tensor& drawn) {
  const int64_t n = logits.size(0);
  at::Tensor tokens = drawn.select(0, 0).view(at::kLong);
  if (tables.entropy.defined()) {
    const at::Tensor entropy = tables.entropy.narrow(0, 0, n);
    token_log_probs(logits, tables.no_targets, 1 / rule.temperature,
                    {.log_probs = tables.log_probs, .entropy = entropy});
    drawn.select(0, 3).copy_(entropy);
  }
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::sample_rows_cuda<T>(
        {.logits = mutable_values<T>(logits),
         .scratch = tables.scratch.mutable_data_ptr(),
         .keys = static_cast<const kernels::DrawKey*>(keys.const_data_ptr()),
         .tokens = mutable_values<int64_t>(tokens),
         .log_probs = drawn.select(0, 1).data_ptr<double>(),
         .sampling_log_probs = drawn.select(0, 2).data_ptr<double>(),
         .stop_ids = values<int64_t>(tables.stop_ids),
         .never_ids = values<int64_t>(tables.never_ids),
         .n_stop_ids = tables.stop_ids.numel(),
         .n_never_ids = tables.never_ids.numel(),
         .n_rows = n,
         .vocab_size = logits.size(1),
         .min_new_tokens = rule.min_new_tokens,
         .top_k = rule.filter.top_k,
         .top_p = rule.filter.top_p,
         .temperature = rule.temperature,
         .greedy = rule.greedy,
         .top_k_first = rule.filter.order == kernels::FilterOrder::kTopKFirst},
        stream_of(logits));
  });
}

void read_draws(const at::Tensor& drawn, bool measure_entropy, std::span<Draw> draws) {
  const int64_t n = drawn.size(1);
  const auto* const token = static_cast<const int64_t*>(drawn.const_data_ptr());
  const auto* const number = drawn.const_data_ptr<double>();
  for (size_t i = 0; i < draws.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    draws[i] = {{.token = token[row],
                 .log_prob = number[n + row],
                 .sampling_log_prob = number[2 * n + row]},
                measure_entropy ? number[3 * n + row] : 0};
  }
}

void draw_rows(at::Tensor& logits, const kernels::SamplingRule& rule,
               std::span<const kernels::DrawKey> keys, bool measure_entropy,
               const at::Tensor& scratch, std::span<Draw> draws) {
  at::Tensor drawn = at::empty({4, logits.size(0)}, logits.options().dtype(at::kDouble));
  enqueue_draws(logits, rule, draw_tables(logits, rule, measure_entropy, scratch),
                uploaded_bytes(keys, logits), drawn);
  read_draws(drawn.cpu(), measure_entropy, draws);
}

}  // namespace orrery::model::operators::cuda
