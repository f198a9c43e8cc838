// The operators on CPUs: the kernels of kernels/, and plain loops for what no family spends time
// on. CUDA tensors go on to cuda_operators.h.
#include <algorithm>  // copy_n, fill_n

#include "activation_function.h"
#include "cuda_operators.h"
#include "dispatch.h"
#include "kernel_args.h"
#include "operators.h"
#include "orrery/base/index.h"
#include "routing.h"
#include "row_norm.h"

namespace orrery::model::operators {
namespace {

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
        d[t * n_experts + e] += static_cast<T>(scale * counts[base::index(e)]);
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

template <class T>
double entropy_of(const T* logits, int64_t vocab_size, double inverse_temperature) {
  const int64_t no_target = -1;
  T log_prob = 0, entropy = 0;
  kernels::token_log_probs<T>({.logits = logits,
                               .targets = &no_target,
                               .log_probs = &log_prob,
                               .entropy = &entropy,
                               .n_rows = 1,
                               .vocab_size = vocab_size,
                               .inverse_temperature = inverse_temperature});
  return static_cast<double>(entropy);
}

}  // namespace

void look_up(const at::Tensor& table, const IndexRange& vocabulary, std::span<const int64_t> tokens,
             at::Tensor& out) {
  if (table.is_cuda()) return cuda::look_up(table, vocabulary, tokens, out);
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
  if (dtable.is_cuda()) return cuda::look_up_backward(dout, vocabulary, tokens, dtable);
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
  if (rows.is_cuda()) return cuda::add_positions(rows, positions, table);
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
  if (drows.is_cuda()) return cuda::add_positions_backward(drows, positions, dtable);
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
  if (x.is_cuda()) return cuda::norm(norm, x, y, rstd);
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
  if (x.is_cuda()) return cuda::norm_backward(norm, x, rstd, dy, dx, output, dnorm);
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
  if (rows.is_cuda()) {
    rows.add_(bias);
    return;
  }
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
  if (rows.is_cuda()) return cuda::add_column_sums(rows, dbias);
  with_type(rows.scalar_type(), [&]<class T>() {
    const int64_t n = rows.size(1);
    const T* row = values<T>(rows);
    T* sums = mutable_values<T>(dbias);
    for (int64_t t = 0; t < rows.size(0); ++t, row += n) {
      for (int64_t i = 0; i < n; ++i) sums[i] += row[i];
    }
  });
}

void activate(ActivationFunction function, const at::Tensor& up, at::Tensor& out) {
  if (up.is_cuda()) return cuda::activate(function, up, out);
  with_type(up.scalar_type(), [&]<class T>() {
    apply_activation<T>(activation_shape(function, up, out), values<T>(up), mutable_values<T>(out));
  });
}

void activate_backward(ActivationFunction function, at::Tensor& up, at::Tensor& dgated) {
  if (up.is_cuda()) return cuda::activate_backward(function, up, dgated);
  with_type(up.scalar_type(), [&]<class T>() {
    apply_hidden_backward<T>(activation_shape(function, up, dgated), values<T>(up),
                             values<T>(dgated), mutable_values<T>(up), mutable_values<T>(dgated));
  });
}

void route(at::Tensor& logits, bool normalise, at::Tensor& index, at::Tensor& weight) {
  if (logits.is_cuda()) return cuda::route(logits, normalise, index, weight);
  with_type(logits.scalar_type(),
            [&]<class T>() { model::route<T>(route_args<T>(logits, normalise, index, weight)); });
}

void route_backward(const at::Tensor& probabilities, const at::Tensor& index,
                    const at::Tensor& weight, bool normalise, const BalanceLoss& balance,
                    const at::Tensor& dweight, at::Tensor& dlogits) {
  if (dlogits.is_cuda())
    return cuda::route_backward(probabilities, index, weight, normalise, balance, dweight, dlogits);
  dlogits.zero_();
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
}

void take_rows(const at::Tensor& x, std::span<const int64_t> rows, at::Tensor& out) {
  if (x.is_cuda()) return cuda::take_rows(x, rows, out);
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
  if (x.is_cuda()) return cuda::put_rows(x, rows, out);
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
  if (x.is_cuda()) return cuda::add_scaled_rows(x, rows, scales, places, out);
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
  if (logits.is_cuda()) return cuda::token_log_probs(logits, targets, inverse_temperature, out);
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs<T>(log_prob_args<T>(logits, targets.data(), inverse_temperature, out));
  });
}

void token_log_probs_backward(at::Tensor& logits, std::span<const int64_t> targets,
                              double inverse_temperature, const TokenLogProbs& of,
                              const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  if (logits.is_cuda())
    return cuda::token_log_probs_backward(logits, targets, inverse_temperature, of, dlog_probs,
                                          dentropy);
  with_type(logits.scalar_type(), [&]<class T>() {
    kernels::token_log_probs_backward<T>(log_prob_backward_args<T>(
        logits, targets.data(), inverse_temperature, of, dlog_probs, dentropy));
  });
}

at::Tensor draw_scratch(const at::Tensor& logits) {
  if (logits.is_cuda()) return cuda::draw_scratch(logits);
  return at::empty({kernels::sampling_scratch_bytes(logits.size(1))}, at::kByte);
}

void draw_rows(at::Tensor& logits, const kernels::SamplingRule& rule,
               std::span<const kernels::DrawKey> keys, bool measure_entropy,
               const at::Tensor& scratch, std::span<Draw> draws) {
  if (logits.is_cuda()) {
    return cuda::draw_rows(logits, rule, keys, measure_entropy, scratch, draws);
  }
  with_type(logits.scalar_type(), [&]<class T>() {
    const int64_t vocab_size = logits.size(1);
    T* row = mutable_values<T>(logits);
    for (size_t i = 0; i < keys.size(); ++i, row += vocab_size) {
      const double entropy =
          measure_entropy ? entropy_of(row, vocab_size, 1 / rule.temperature) : 0;
      draws[i] = {
          kernels::sample_token<T>({row, static_cast<size_t>(vocab_size)}, rule,
                                   static_cast<int64_t>(keys[i].position),
                                   kernels::uniform_of(keys[i]), scratch.mutable_data_ptr()),
          entropy};
    }
  });
}

}  // namespace orrery::model::operators
