#include "whole_norm.h"

#include <ATen/ops/from_blob.h>

#include <cmath>  // sqrt
#include <vector>

namespace orrery::model {
namespace {

/// sums [n_tokens, 2], over the tensor ranks; those of keys count each head once.
template <class T>
void sum_over_ranks(std::vector<T>& sums, comm::Communicator* tensor) {
  if (tensor == nullptr) return;
  at::Tensor all = at::from_blob(sums.data(), {static_cast<int64_t>(sums.size())},
                                 c10::CppTypeToScalarType<T>::value);
  tensor->all_reduce(all, comm::ReduceOp::kSum);
}

template <class T>
T scale_of(NormKind kind, const T* weight, int64_t i) {
  return kind == NormKind::kRmsPlusOne ? weight[i] + T(1) : weight[i];
}

/// Heads of all ranks together, each counted once.
int64_t whole_width(int64_t own, int64_t n_ranks, int64_t n_copies) {
  return own * n_ranks / n_copies;
}

}  // namespace

template <class T>
void norm_whole(const WholeNormArgs<T>& args) {
  const int64_t n = args.n_tokens;
  std::vector<T> sums(static_cast<size_t>(2 * n));
  for (int64_t t = 0; t < n; ++t) {
    const T* x = args.x + t * args.x_stride;
    T q = 0, k = 0;
    for (int64_t i = 0; i < args.q_width; ++i) q += x[i] * x[i];
    x += args.q_width;
    for (int64_t i = 0; i < args.k_width; ++i) k += x[i] * x[i];
    sums[static_cast<size_t>(2 * t)] = q;
    sums[static_cast<size_t>(2 * t + 1)] = k;
  }
  sum_over_ranks(sums, args.ranks.tensor);
  const auto q_width = static_cast<double>(whole_width(args.q_width, args.ranks.size(), 1));
  const auto k_width =
      static_cast<double>(whole_width(args.k_width, args.ranks.size(), args.ranks.kv_copies));
  const auto rstd_of = [&](T sum, double width) {
    return static_cast<T>(1 / std::sqrt(static_cast<double>(sum) / width + args.eps));
  };
  for (int64_t t = 0; t < n; ++t) {
    const T* x = args.x + t * args.x_stride;
    T* y = args.y + t * args.y_stride;
    const T q = rstd_of(sums[static_cast<size_t>(2 * t)], q_width);
    const T k = rstd_of(sums[static_cast<size_t>(2 * t + 1)] / static_cast<T>(args.ranks.kv_copies),
                        k_width);
    for (int64_t i = 0; i < args.q_width; ++i) {
      y[i] = x[i] * q * scale_of(args.kind, args.q_weight, i);
    }
    x += args.q_width;
    y += args.q_width;
    for (int64_t i = 0; i < args.k_width; ++i) {
      y[i] = x[i] * k * scale_of(args.kind, args.k_weight, i);
    }
    if (args.rstd == nullptr) continue;
    args.rstd[2 * t] = q;
    args.rstd[2 * t + 1] = k;
  }
}

template <class T>
void norm_whole_backward(const WholeNormBackwardArgs<T>& args) {
  const int64_t n = args.n_tokens;
  // sum(g x) of queries and of keys. Gradients of copied heads are parts of a sum, so the sum over
  // all ranks counts each head once.
  std::vector<T> sums(static_cast<size_t>(2 * n));
  for (int64_t t = 0; t < n; ++t) {
    const T* x = args.x + t * args.x_stride;
    const T* dy = args.gradient + t * args.gradient_stride;
    T q = 0, k = 0;
    for (int64_t i = 0; i < args.q_width; ++i) {
      q += dy[i] * scale_of(args.kind, args.q_weight, i) * x[i];
    }
    x += args.q_width;
    dy += args.q_width;
    for (int64_t i = 0; i < args.k_width; ++i) {
      k += dy[i] * scale_of(args.kind, args.k_weight, i) * x[i];
    }
    sums[static_cast<size_t>(2 * t)] = q;
    sums[static_cast<size_t>(2 * t + 1)] = k;
  }
  sum_over_ranks(sums, args.ranks.tensor);
  const auto q_width = static_cast<T>(whole_width(args.q_width, args.ranks.size(), 1));
  const auto k_width =
      static_cast<T>(whole_width(args.k_width, args.ranks.size(), args.ranks.kv_copies));
  const auto copies = static_cast<T>(args.ranks.kv_copies);
  const auto back = [&](const T* x, const T* weight, T rstd, T mean, int64_t width, T* gradient,
                        T* dweight) {
    for (int64_t i = 0; i < width; ++i) {
      const T dy = gradient[i];
      dweight[i] += dy * x[i] * rstd;
      gradient[i] = rstd * (dy * scale_of(args.kind, weight, i) - x[i] * rstd * rstd * mean);
    }
  };
  for (int64_t t = 0; t < n; ++t) {
    const T* x = args.x + t * args.x_stride;
    T* gradient = args.gradient + t * args.gradient_stride;
    back(x, args.q_weight, args.rstd[2 * t], sums[static_cast<size_t>(2 * t)] / q_width,
         args.q_width, gradient, args.dq_weight);
    // Each of the ranks that have a head takes its share of what the others add to the mean.
    back(x + args.q_width, args.k_weight, args.rstd[2 * t + 1],
         sums[static_cast<size_t>(2 * t + 1)] / k_width / copies, args.k_width,
         gradient + args.q_width, args.dk_weight);
  }
}

template void norm_whole<float>(const WholeNormArgs<float>&);
template void norm_whole<double>(const WholeNormArgs<double>&);
template void norm_whole_backward<float>(const WholeNormBackwardArgs<float>&);
template void norm_whole_backward<double>(const WholeNormBackwardArgs<double>&);

}  // namespace orrery::model
