// Attention by its definition, in double, one query at a time: the reference of both attention
// kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace orrery::kernels {

/// q [n, heads, d], k and v [n, kv_heads, d] of one sequence, contiguous.
struct NaiveAttention {
  int64_t n, heads, kv_heads, d, window;
  double scale;
  std::vector<double> q, k, v;

  size_t q_at(int64_t i, int64_t h) const { return size_t((i * heads + h) * d); }
  size_t k_at(int64_t j, int64_t h) const {
    return size_t((j * kv_heads + h * kv_heads / heads) * d);
  }
  int64_t first_key(int64_t i) const {
    return window > 0 ? std::max<int64_t>(0, i - window + 1) : 0;
  }

  /// Probabilities of query i and head h over keys first_key(i)..i; the log of their sum in `lse`.
  std::vector<double> probabilities(int64_t i, int64_t h, double& lse) const {
    std::vector<double> p;
    double total = 0;
    for (int64_t j = first_key(i); j <= i; ++j) {
      double score = 0;
      for (int64_t e = 0; e < d; ++e)
        score += q[q_at(i, h) + size_t(e)] * k[k_at(j, h) + size_t(e)];
      p.push_back(std::exp(score * scale));
      total += p.back();
    }
    for (double& value : p) value /= total;
    lse = std::log(total);
    return p;
  }

  std::vector<double> out() const {
    std::vector<double> result(q.size(), 0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        double lse = 0;
        const std::vector<double> p = probabilities(i, h, lse);
        for (size_t j = 0; j < p.size(); ++j) {
          for (int64_t e = 0; e < d; ++e) {
            result[q_at(i, h) + size_t(e)] +=
                p[j] * v[k_at(first_key(i) + int64_t(j), h) + size_t(e)];
          }
        }
      }
    }
    return result;
  }
};

}  // namespace orrery::kernels
