#include "routing.h"

#include <algorithm>  // max_element
#include <cmath>      // exp

namespace orrery::model {
namespace {

template <class T>
void softmax(T* row, int64_t n) {
  const T largest = *std::max_element(row, row + n);
  T sum = 0;
  for (int64_t e = 0; e < n; ++e) sum += row[e] = std::exp(row[e] - largest);
  for (int64_t e = 0; e < n; ++e) row[e] /= sum;
}

}  // namespace

template <class T>
void route(const kernels::RouteRowsArgs<T>& args) {
  for (int64_t row = 0; row < args.n_rows; ++row) {
    T* const p = args.logits + row * args.n_experts;
    int64_t* const index = args.index + row * args.per_token;
    T* const weight = args.weight + row * args.per_token;
    softmax(p, args.n_experts);
    T sum = 0;
    for (int64_t k = 0; k < args.per_token; ++k) {
      int64_t best = -1;
      for (int64_t e = 0; e < args.n_experts; ++e) {
        if (std::find(index, index + k, e) != index + k) continue;
        // The first one even if it is not a number: a choice must be made.
        if (best < 0 || p[e] > p[best]) best = e;
      }
      index[k] = best;
      weight[k] = p[best];
      sum += p[best];
    }
    if (!args.normalise) continue;
    for (int64_t k = 0; k < args.per_token; ++k) weight[k] /= sum;
  }
}

template void route<float>(const kernels::RouteRowsArgs<float>&);
template void route<double>(const kernels::RouteRowsArgs<double>&);

}  // namespace orrery::model
