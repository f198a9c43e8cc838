#include "experts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "matmul.h"

namespace orrery::model {
namespace {

/// Which tokens one expert gets, and in which of their K places it stands.
struct Assignments {
  std::vector<int64_t> rows;    // [n]
  std::vector<int64_t> places;  // [n] row * K + place

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

/// Of each own expert, in one pass over the routing.
std::vector<Assignments> own_assignments(const Routing& routing, const ExpertWeights& weights) {
  std::vector<Assignments> own(weights.own.size());
  const int64_t per_token = routing.index.size(1);
  const int64_t* index = routing.index.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < routing.index.numel(); ++i) {
    const int64_t expert = index[i] - weights.first;
    if (expert < 0 || expert >= static_cast<int64_t>(own.size())) continue;
    own[static_cast<size_t>(expert)].rows.push_back(i / per_token);
    own[static_cast<size_t>(expert)].places.push_back(i);
  }
  return own;
}

at::Tensor applied(const Linear& linear, const at::Tensor& x) {
  at::Tensor y = at::empty({x.size(0), linear.n_out()}, x.options());
  apply(linear, x, y);
  return y;
}

at::Tensor taken(const at::Tensor& x, const std::vector<int64_t>& rows) {
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), x.size(1)}, x.options());
  operators::take_rows(x, rows, out);
  return out;
}

/// What the outputs of one expert are multiplied with [n, 1].
at::Tensor weights_of(const Routing& routing, const Assignments& assignments) {
  return taken(routing.weight.view({-1, 1}), assignments.places);
}

/// One MLP with what its backward pass needs.
struct MlpPass {
  at::Tensor up;     // [n, 2 I]
  at::Tensor gated;  // [n, I]
  at::Tensor out;    // [n, H]
};

MlpPass forward_mlp(const Architecture& a, const MlpWeights& w, const at::Tensor& x) {
  MlpPass pass;
  pass.up = applied(w.up, x);
  pass.gated = at::empty({x.size(0), w.down.n_in()}, x.options());
  operators::activate(a.activation_function, pass.up, pass.gated);
  pass.out = applied(w.down, pass.gated);
  return pass;
}

/// Returns the gradient by x.
at::Tensor backward_mlp(const Architecture& a, const MlpWeights& w, MlpWeights& dw, MlpPass& pass,
                        const at::Tensor& x, const at::Tensor& dout) {
  add_weight_gradient(dw.down, dout, pass.gated);
  at::Tensor dgated = multiplied(dout, w.down.weight);
  operators::activate_backward(a.activation_function, pass.up, dgated);
  add_weight_gradient(dw.up, pass.up, x);
  return multiplied(pass.up, w.up.weight);
}

/// sigmoid of the shared expert's gate [T, 1].
at::Tensor shared_gate(const ExpertWeights& weights, const at::Tensor& rows) {
  return at::sigmoid(applied(weights.shared_gate, rows));
}

}  // namespace

Routing route_rows(const Architecture& a, const ExpertWeights& weights, const at::Tensor& rows) {
  Routing routing;
  routing.probabilities = applied(weights.router, rows);
  routing.index =
      at::empty({rows.size(0), a.experts.per_token}, at::TensorOptions().dtype(at::kLong));
  routing.weight = at::empty({rows.size(0), a.experts.per_token}, rows.options());
  operators::route(routing.probabilities, a.experts.normalise, routing.index, routing.weight);
  return routing;
}

at::Tensor forward_experts(const Architecture& a, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows) {
  at::Tensor out = at::zeros_like(rows);
  const std::vector<Assignments> own = own_assignments(routing, weights);
  for (size_t e = 0; e < own.size(); ++e) {
    if (own[e].size() == 0) continue;
    const MlpPass pass = forward_mlp(a, weights.own[e], taken(rows, own[e].rows));
    operators::add_scaled_rows(pass.out, own[e].rows, weights_of(routing, own[e]), out);
  }
  if (weights.shared_gate.defined()) {
    out.add_(forward_mlp(a, weights.shared, rows).out * shared_gate(weights, rows));
  }
  return out;
}

at::Tensor backward_experts(const Architecture& a, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing,
                            const BalanceLoss& balance, const at::Tensor& rows,
                            const at::Tensor& dy) {
  at::Tensor drows = at::zeros_like(rows);
  at::Tensor dweight = at::zeros_like(routing.weight);
  const std::vector<Assignments> own = own_assignments(routing, weights);
  for (size_t e = 0; e < own.size(); ++e) {
    if (own[e].size() == 0) continue;
    const at::Tensor x = taken(rows, own[e].rows), dout = taken(dy, own[e].rows);
    MlpPass pass = forward_mlp(a, weights.own[e], x);
    at::Tensor of_places = dweight.view({-1, 1});
    operators::put_rows((pass.out * dout).sum(1, true), own[e].places, of_places);
    const at::Tensor dx = backward_mlp(a, weights.own[e], dweights.own[e], pass, x,
                                       dout * weights_of(routing, own[e]));
    operators::add_scaled_rows(dx, own[e].rows, {}, drows);
  }
  const at::Tensor dlogits = operators::route_backward(
      routing.probabilities, routing.index, routing.weight, a.experts.normalise, balance, dweight);
  add_weight_gradient(dweights.router, dlogits, rows);
  multiply_onto(drows, dlogits, weights.router.weight);
  if (weights.shared_gate.defined()) {
    const at::Tensor gate = shared_gate(weights, rows);
    MlpPass pass = forward_mlp(a, weights.shared, rows);
    const at::Tensor dgate = (pass.out * dy).sum(1, true) * gate * (1 - gate);
    add_weight_gradient(dweights.shared_gate, dgate, rows);
    multiply_onto(drows, dgate, weights.shared_gate.weight);
    drows.add_(backward_mlp(a, weights.shared, dweights.shared, pass, rows, dy * gate));
  }
  return drows;
}

}  // namespace orrery::model
