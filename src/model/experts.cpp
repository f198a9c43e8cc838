#include "experts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "activation_function.h"
#include "dispatch.h"
#include "matmul.h"
#include "routing.h"

namespace orrery::model {
namespace {

/// Which tokens one expert gets, and in which of their K places it stands.
struct Assignments {
  at::Tensor rows;              // [n] int64
  at::Tensor weights;           // [n, 1]
  std::vector<int64_t> places;  // [n] row * K + place

  int64_t size() const { return static_cast<int64_t>(places.size()); }
};

Assignments assignments_of(const Routing& routing, int64_t expert) {
  Assignments found;
  std::vector<int64_t> rows;
  const int64_t per_token = routing.index.size(1);
  const int64_t* index = routing.index.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < routing.index.numel(); ++i) {
    if (index[i] != expert) continue;
    rows.push_back(i / per_token);
    found.places.push_back(i);
  }
  found.rows = at::tensor(rows, at::kLong);
  found.weights =
      routing.weight.view({-1}).index_select(0, at::tensor(found.places, at::kLong)).unsqueeze(1);
  return found;
}

ActivationShape activation_shape(const Architecture& a, const at::Tensor& down, int64_t n_rows) {
  return {
      .function = a.activation_function, .is_gated = true, .n_rows = n_rows, .width = down.size(1)};
}

/// One MLP with what its backward pass needs.
struct MlpPass {
  at::Tensor up;      // [n, 2 I]
  at::Tensor hidden;  // [n, I]
  at::Tensor out;     // [n, H]
};

MlpPass forward_mlp(const Architecture& a, const MlpWeights& w, const at::Tensor& x) {
  MlpPass pass;
  pass.up = multiplied(x, w.up.t());
  pass.hidden = at::empty({x.size(0), w.down.size(1)}, x.options());
  with_type(x.scalar_type(), [&]<class T>() {
    apply_activation<T>(activation_shape(a, w.down, x.size(0)), pass.up.const_data_ptr<T>(),
                        pass.hidden.data_ptr<T>());
  });
  pass.out = multiplied(pass.hidden, w.down.t());
  return pass;
}

/// Returns the gradient by x.
at::Tensor backward_mlp(const Architecture& a, const MlpWeights& w, MlpWeights& dw, MlpPass& pass,
                        const at::Tensor& x, const at::Tensor& dout) {
  multiply_onto(dw.down, dout.t(), pass.hidden);
  at::Tensor dhidden = multiplied(dout, w.down);
  with_type(x.scalar_type(), [&]<class T>() {
    apply_hidden_backward<T>(activation_shape(a, w.down, x.size(0)), pass.up.const_data_ptr<T>(),
                             dhidden.const_data_ptr<T>(), pass.up.data_ptr<T>(),
                             dhidden.data_ptr<T>());
  });
  multiply_onto(dw.up, pass.up.t(), x);
  return multiplied(pass.up, w.up);
}

/// dprobabilities [T, E] += the gradient of the balance loss.
template <class T>
void add_balance(const Architecture& a, const Routing& routing, const Balance& balance,
                 at::Tensor& dprobabilities) {
  const int64_t n_experts = a.experts.count, per_token = a.experts.per_token;
  const int64_t* index = routing.index.const_data_ptr<int64_t>();
  T* d = dprobabilities.data_ptr<T>();
  for (size_t s = 0; s + 1 < balance.cu_seqlens.size(); ++s) {
    const int64_t first = balance.cu_seqlens[s], end = balance.cu_seqlens[s + 1];
    std::vector<double> counts(static_cast<size_t>(n_experts));
    for (int64_t i = first * per_token; i < end * per_token; ++i) {
      counts[static_cast<size_t>(index[i])] += 1;
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

/// Gradient by the router's logits [T, E] from that by the weights of the chosen experts [T, K],
/// which on one tensor rank is that of its own experts alone: all steps are linear in it.
template <class T>
at::Tensor router_gradient(const Architecture& a, const Routing& routing, const Balance& balance,
                           const at::Tensor& dweight) {
  const int64_t n_experts = a.experts.count, per_token = a.experts.per_token;
  at::Tensor dprobabilities = at::zeros_like(routing.probabilities);
  if (balance.weight != 0) add_balance<T>(a, routing, balance, dprobabilities);
  for (int64_t t = 0; t < routing.index.size(0); ++t) {
    const int64_t* index = routing.index.const_data_ptr<int64_t>() + t * per_token;
    const T* weight = routing.weight.const_data_ptr<T>() + t * per_token;
    const T* dw = dweight.const_data_ptr<T>() + t * per_token;
    const T* p = routing.probabilities.const_data_ptr<T>() + t * n_experts;
    T* dp = dprobabilities.data_ptr<T>() + t * n_experts;
    T sum = 0, product = 0;
    for (int64_t k = 0; k < per_token; ++k) {
      sum += p[index[k]];
      product += dw[k] * weight[k];
    }
    for (int64_t k = 0; k < per_token; ++k) {
      dp[index[k]] += a.experts.normalise ? (dw[k] - product) / sum : dw[k];
    }
    T mean = 0;
    for (int64_t e = 0; e < n_experts; ++e) mean += p[e] * dp[e];
    for (int64_t e = 0; e < n_experts; ++e) dp[e] = p[e] * (dp[e] - mean);
  }
  return dprobabilities;
}

}  // namespace

Routing route_rows(const Architecture& a, const ExpertWeights& weights, const at::Tensor& rows) {
  Routing routing;
  routing.probabilities = multiplied(rows, weights.router.t());
  routing.index =
      at::empty({rows.size(0), a.experts.per_token}, at::TensorOptions().dtype(at::kLong));
  routing.weight = at::empty({rows.size(0), a.experts.per_token}, rows.options());
  with_type(rows.scalar_type(), [&]<class T>() {
    route<T>({.logits = routing.probabilities.data_ptr<T>(),
              .index = routing.index.data_ptr<int64_t>(),
              .weight = routing.weight.data_ptr<T>(),
              .n_rows = rows.size(0),
              .n_experts = a.experts.count,
              .per_token = a.experts.per_token,
              .normalise = a.experts.normalise});
  });
  return routing;
}

at::Tensor forward_experts(const Architecture& a, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows) {
  at::Tensor out = at::zeros_like(rows);
  for (size_t e = 0; e < weights.own.size(); ++e) {
    const Assignments mine = assignments_of(routing, weights.first + static_cast<int64_t>(e));
    if (mine.size() == 0) continue;
    const MlpPass pass = forward_mlp(a, weights.own[e], rows.index_select(0, mine.rows));
    out.index_add_(0, mine.rows, pass.out * mine.weights);
  }
  if (weights.shared_gate.defined()) {
    const at::Tensor gate = at::sigmoid(multiplied(rows, weights.shared_gate.t()));
    out.add_(forward_mlp(a, weights.shared, rows).out * gate);
  }
  return out;
}

at::Tensor backward_experts(const Architecture& a, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const Balance& balance,
                            const at::Tensor& rows, const at::Tensor& dy) {
  at::Tensor drows = at::zeros_like(rows);
  at::Tensor dweight = at::zeros_like(routing.weight);
  for (size_t e = 0; e < weights.own.size(); ++e) {
    const Assignments mine = assignments_of(routing, weights.first + static_cast<int64_t>(e));
    if (mine.size() == 0) continue;
    const at::Tensor x = rows.index_select(0, mine.rows), dout = dy.index_select(0, mine.rows);
    MlpPass pass = forward_mlp(a, weights.own[e], x);
    dweight.view({-1}).index_put_({at::tensor(mine.places, at::kLong)}, (pass.out * dout).sum(1));
    drows.index_add_(
        0, mine.rows,
        backward_mlp(a, weights.own[e], dweights.own[e], pass, x, dout * mine.weights));
  }
  with_type(rows.scalar_type(), [&]<class T>() {
    const at::Tensor dlogits = router_gradient<T>(a, routing, balance, dweight);
    multiply_onto(dweights.router, dlogits.t(), rows);
    multiply_onto(drows, dlogits, weights.router);
  });
  if (weights.shared_gate.defined()) {
    const at::Tensor gate = at::sigmoid(multiplied(rows, weights.shared_gate.t()));
    MlpPass pass = forward_mlp(a, weights.shared, rows);
    const at::Tensor dgate = (pass.out * dy).sum(1, true) * gate * (1 - gate);
    multiply_onto(dweights.shared_gate, dgate.t(), rows);
    multiply_onto(drows, dgate, weights.shared_gate);
    drows.add_(backward_mlp(a, weights.shared, dweights.shared, pass, rows, dy * gate));
  }
  return drows;
}

}  // namespace orrery::model
