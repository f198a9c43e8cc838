// Kernels that work row by row: norm, rope, gate, log-probabilities.
#pragma once

#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/silu_mul.h"
#include "orrery/kernels/token_log_probs.h"
#include "target/simd.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

template <class T>
void rms_norm(const RmsNormArgs<T>& args) {
  const int64_t width = args.width;
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    for (int64_t g = 0; g < args.n_groups; ++g) {
      const T* x = args.x + t * args.x_stride + g * width;
      T* y = args.y + t * args.y_stride + g * width;
      const T mean = dot(x, x, width) / static_cast<T>(width);
      const T rstd = T(1) / scalar_sqrt(mean + static_cast<T>(args.eps));
      if (args.rstd != nullptr) args.rstd[t * args.n_groups + g] = rstd;
      int64_t i = 0;
      for (; i + kLanes<T> <= width; i += kLanes<T>) {
        store<T>(y + i, load(x + i) * rstd * load(args.weight + i));
      }
      for (; i < width; ++i) y[i] = x[i] * rstd * args.weight[i];
    }
  }
}

/// With n = x * rstd: dx = rstd * (w dy - n * mean(w dy n)), dw += dy n.
template <class T>
void rms_norm_backward(const RmsNormBackwardArgs<T>& args) {
  const int64_t width = args.width;
  const bool add = args.dx_output == Output::kAdd;
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    for (int64_t g = 0; g < args.n_groups; ++g) {
      const T* x = args.x + t * args.x_stride + g * width;
      const T* dy = args.dy + t * args.dy_stride + g * width;
      T* dx = args.dx + t * args.dx_stride + g * width;
      const T* w = args.weight;
      T* dw = args.dweight;
      const T rstd = args.rstd[t * args.n_groups + g];

      Vec<T> sums{};
      int64_t i = 0;
      for (; i + kLanes<T> <= width; i += kLanes<T>) {
        const Vec<T> product = load(dy + i) * load(x + i);
        sums += product * load(w + i);
        store<T>(dw + i, load(dw + i) + product * rstd);
      }
      T total = sum(sums);
      for (; i < width; ++i) {
        total += dy[i] * x[i] * w[i];
        dw[i] += dy[i] * x[i] * rstd;
      }
      const T slope = total * rstd * rstd * rstd / static_cast<T>(width);

      i = 0;
      for (; i + kLanes<T> <= width; i += kLanes<T>) {
        const Vec<T> grad = load(dy + i) * load(w + i) * rstd - load(x + i) * slope;
        store<T>(dx + i, add ? load(dx + i) + grad : grad);
      }
      for (; i < width; ++i) {
        const T grad = dy[i] * w[i] * rstd - x[i] * slope;
        dx[i] = add ? dx[i] + grad : grad;
      }
    }
  }
}

template <class T>
void rope(const RopeArgs<T>& args) {
  const int64_t half = args.head_dim / 2;
  const T sign = args.rotation == Rotation::kForward ? T(1) : T(-1);
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    const T* cosines = args.cosines + args.positions[t] * half;
    const T* sines = args.sines + args.positions[t] * half;
    for (int64_t h = 0; h < args.n_heads; ++h) {
      T* first = args.x + t * args.x_stride + h * args.head_dim;
      T* second = first + half;
      int64_t i = 0;
      for (; i + kLanes<T> <= half; i += kLanes<T>) {
        const Vec<T> a = load(first + i), b = load(second + i);
        const Vec<T> c = load(cosines + i), s = load(sines + i) * sign;
        store<T>(first + i, a * c - b * s);
        store<T>(second + i, b * c + a * s);
      }
      for (; i < half; ++i) {
        const T a = first[i], b = second[i], c = cosines[i], s = sines[i] * sign;
        first[i] = a * c - b * s;
        second[i] = b * c + a * s;
      }
    }
  }
}

template <class T>
void silu_mul(const SiluMulArgs<T>& args) {
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    const T* gate = args.gate_up + t * 2 * args.width;
    const T* up = gate + args.width;
    T* out = args.out + t * args.width;
    const auto gated = [](const Vec<T>& g, const Vec<T>& u) {
      return g / (splat(T(1)) + vexp<T>(-g)) * u;
    };
    int64_t i = 0;
    for (; i + kLanes<T> <= args.width; i += kLanes<T>) {
      store<T>(out + i, gated(load(gate + i), load(up + i)));
    }
    if (const int64_t left = args.width - i; left > 0) {
      store_first<T>(out + i, gated(load_first(gate + i, left), load_first(up + i, left)), left);
    }
  }
}

/// With s = sigmoid(g): d(g s)/dg = s (1 + g (1 - s)).
template <class T>
void silu_mul_backward(const SiluMulBackwardArgs<T>& args) {
  for (int64_t t = 0; t < args.n_tokens; ++t) {
    const T* gate = args.gate_up + t * 2 * args.width;
    const T* up = gate + args.width;
    const T* dout = args.dout + t * args.width;
    T* out = args.out + t * args.width;
    T* dgate = args.dgate_up + t * 2 * args.width;
    T* dup = dgate + args.width;
    struct Gradients {
      Vec<T> gate, up, out;
    };
    const auto differentiate = [](const Vec<T>& g, const Vec<T>& u, const Vec<T>& d) {
      const Vec<T> one = splat(T(1));
      const Vec<T> s = one / (one + vexp<T>(-g));
      const Vec<T> silu = g * s;
      return Gradients{d * u * s * (one + g * (one - s)), d * silu, silu * u};
    };
    int64_t i = 0;
    for (; i + kLanes<T> <= args.width; i += kLanes<T>) {
      const Gradients by = differentiate(load(gate + i), load(up + i), load(dout + i));
      store<T>(dgate + i, by.gate);
      store<T>(dup + i, by.up);
      store<T>(out + i, by.out);
    }
    if (const int64_t left = args.width - i; left > 0) {
      const Gradients by = differentiate(load_first(gate + i, left), load_first(up + i, left),
                                         load_first(dout + i, left));
      store_first<T>(dgate + i, by.gate, left);
      store_first<T>(dup + i, by.up, left);
      store_first<T>(out + i, by.out, left);
    }
  }
}

/// The largest of n >= 1 numbers.
template <class T>
T row_max(const T* x, int64_t n) {
  T best = x[0];
  int64_t i = 0;
  if (n >= kLanes<T>) {
    Vec<T> bests = load(x);
    for (i = kLanes<T>; i + kLanes<T> <= n; i += kLanes<T>) bests = vmax(bests, load(x + i));
    best = largest<T>(bests);
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

/// sums += the lanes of v: sums of many weights are kept in double.
ORRERY_INLINE void add_lanes(const Vec<float>& v, Vec<double>& sums) {
  typedef float Half __attribute__((vector_size(ORRERY_VECTOR_BYTES / 2)));
  Half halves[2];
  __builtin_memcpy(halves, &v, sizeof v);
  sums += __builtin_convertvector(halves[0], Vec<double>);
  sums += __builtin_convertvector(halves[1], Vec<double>);
}
ORRERY_INLINE void add_lanes(const Vec<double>& v, Vec<double>& sums) { sums += v; }

/// out[i] = e^(x[i] * scale - shift), and their sum. out may be x.
template <class T>
double exp_row(const T* x, int64_t n, T scale, T shift, T* out) {
  Vec<double> sums0{}, sums1{};
  int64_t i = 0;
  for (; i + 2 * kLanes<T> <= n; i += 2 * kLanes<T>) {
    const Vec<T> e0 = vexp<T>(load(x + i) * scale - shift);
    const Vec<T> e1 = vexp<T>(load(x + i + kLanes<T>) * scale - shift);
    store<T>(out + i, e0);
    store<T>(out + i + kLanes<T>, e1);
    add_lanes(e0, sums0);
    add_lanes(e1, sums1);
  }
  double total = sum(sums0 + sums1);
  for (; i < n; ++i) {
    out[i] = scalar_exp(x[i] * scale - shift);
    total += static_cast<double>(out[i]);
  }
  return total;
}

template <class T>
void token_log_probs(const TokenLogProbsArgs<T>& args) {
  const int64_t n = args.vocab_size;
  const T scale = static_cast<T>(args.inverse_temperature);
  for (int64_t row = 0; row < args.n_rows; ++row) {
    const T* logits = args.logits + row * n;
    const T shift = row_max(logits, n) * scale;
    Vec<T> totals{}, weighted_totals{};  // of e^y and of y e^y, y = logit * scale - shift <= 0
    int64_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) {
      const Vec<T> y = load(logits + i) * scale - shift;
      const Vec<T> e = vexp<T>(y);
      totals += e;
      weighted_totals += e * y;
    }
    T total = sum(totals), weighted = sum(weighted_totals);
    for (; i < n; ++i) {
      const T y = logits[i] * scale - shift;
      const T e = scalar_exp(y);
      total += e;
      weighted += e * y;
    }
    const T log_total = scalar_log(total);
    const int64_t target = args.targets[row];
    const T logit = target < 0 ? T(0) : logits[target] * scale;
    args.log_probs[row] = target < 0 ? T(0) : logit - shift - log_total;
    if (args.target_logits != nullptr) args.target_logits[row] = logit;
    if (args.logsumexp != nullptr) args.logsumexp[row] = shift + log_total;
    if (args.entropy != nullptr) args.entropy[row] = log_total - weighted / total;
  }
}

/// With p = softmax(z / t), H its entropy and g, h the gradients of log_prob and entropy:
/// dz = (g (onehot - p) - h p (log p + H)) / t.
template <class T>
void token_log_probs_backward(const TokenLogProbsBackwardArgs<T>& args) {
  const int64_t n = args.vocab_size;
  const T scale = static_cast<T>(args.inverse_temperature);
  for (int64_t row = 0; row < args.n_rows; ++row) {
    T* logits = args.logits + row * n;
    const T lse = args.logsumexp[row];
    const T g = args.dlog_probs != nullptr ? args.dlog_probs[row] : T(0);
    const T h = args.dentropy != nullptr ? args.dentropy[row] : T(0);
    const T entropy = args.dentropy != nullptr ? args.entropy[row] : T(0);
    const T base = g + h * entropy;
    int64_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) {
      const Vec<T> log_p = load(logits + i) * scale - lse;
      const Vec<T> p = vexp<T>(log_p);
      store<T>(logits + i, p * (log_p * h + base) * -scale);
    }
    for (; i < n; ++i) {
      const T log_p = logits[i] * scale - lse;
      logits[i] = scalar_exp(log_p) * (log_p * h + base) * -scale;
    }
    if (args.targets[row] >= 0) logits[args.targets[row]] += g * scale;
  }
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
