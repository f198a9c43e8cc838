#include "experts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros_like.h>

#include "grouped_experts.h"
#include "matmul.h"
#include "orrery/model/arithmetic_type.h"

namespace orrery::model {
namespace {

/// Which tokens the own experts get, and in which of their K places these stand: those of one
/// expert one behind another, in the order of the tokens.
class Assignments {
 public:
  Assignments(const Routing& routing, const ExpertWeights& weights)
      : first_(weights.own.size() + 1) {
    const int64_t per_token = routing.index.size(1), n = routing.index.numel();
    const at::Tensor chosen = routing.index.cpu();  // of a GPU: here its work is waited for
    const int64_t* index = chosen.const_data_ptr<int64_t>();
    // Those of other tensor ranks are out of range, also the ones before the first.
    const auto own = [&](int64_t i) { return static_cast<size_t>(index[i] - weights.first); };
    for (int64_t i = 0; i < n; ++i) {
      if (own(i) < size()) ++first_[own(i) + 1];
    }
    for (size_t e = 0; e < size(); ++e) first_[e + 1] += first_[e];
    rows_.resize(first_.back());
    places_.resize(first_.back());
    std::vector<size_t> next(first_.begin(), first_.end() - 1);
    for (int64_t i = 0; i < n; ++i) {
      if (own(i) >= size()) continue;
      const size_t to = next[own(i)]++;
      rows_[to] = i / per_token;
      places_[to] = i;
    }
  }

  /// Own experts.
  size_t size() const { return first_.size() - 1; }
  std::span<const int64_t> rows(size_t expert) const { return part(rows_, expert); }
  std::span<const int64_t> places(size_t expert) const { return part(places_, expert); }

 private:
  std::span<const int64_t> part(const std::vector<int64_t>& values, size_t expert) const {
    return std::span(values).subspan(first_[expert], first_[expert + 1] - first_[expert]);
  }

  std::vector<size_t> first_;           // [own experts + 1]
  std::vector<int64_t> rows_, places_;  // a place: row * K + which of them
};

at::Tensor applied(const Linear& linear, const at::Tensor& x) {
  at::Tensor y = at::empty({x.size(0), linear.n_out()}, x.options());
  apply(linear, x, y);
  return y;
}

at::Tensor taken(const at::Tensor& x, std::span<const int64_t> rows) {
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), x.size(1)}, x.options());
  operators::take_rows(x, rows, out);
  return out;
}

/// What the outputs of one expert are multiplied with [n, 1].
at::Tensor weights_of(const Routing& routing, std::span<const int64_t> places) {
  return taken(routing.weight.view({-1, 1}), places);
}

/// Room for [rows, columns]; the same as before where the size is, as it mostly is in decoding.
void fit(at::Tensor& matrix, int64_t rows, int64_t columns, const at::TensorOptions& options) {
  if (matrix.defined() && matrix.size(0) == rows && matrix.size(1) == columns) return;
  matrix = at::empty({rows, columns}, options);
}

/// Some rows through one MLP, with what its backward pass needs. One after another may go through
/// the same.
struct MlpPass {
  at::Tensor x;      // [n, H]
  at::Tensor up;     // [n, 2 I]
  at::Tensor gated;  // [n, I]
  at::Tensor out;    // [n, H]

  /// Of these rows [T, H].
  void take(const at::Tensor& all, std::span<const int64_t> rows) {
    fit(x, static_cast<int64_t>(rows.size()), all.size(1), all.options());
    operators::take_rows(all, rows, x);
  }
};

/// From pass.x to pass.out.
void forward_mlp(const Architecture& a, const MlpWeights& w, MlpPass& pass) {
  const int64_t n = pass.x.size(0);
  fit(pass.up, n, w.up.n_out(), pass.x.options());
  fit(pass.gated, n, w.down.n_in(), pass.x.options());
  fit(pass.out, n, w.down.n_out(), pass.x.options());
  apply(w.up, pass.x, pass.up);
  operators::activate(a.activation_function, pass.up, pass.gated);
  apply(w.down, pass.gated, pass.out);
}

MlpPass shared_mlp(const Architecture& a, const ExpertWeights& weights, const at::Tensor& rows) {
  MlpPass pass{.x = rows, .up = {}, .gated = {}, .out = {}};
  forward_mlp(a, weights.shared, pass);
  return pass;
}

/// Returns the gradient by pass.x.
at::Tensor backward_mlp(const Architecture& a, const MlpWeights& w, MlpWeights& dw, MlpPass& pass,
                        const at::Tensor& dout) {
  add_weight_gradient(dw.down, dout, pass.gated);
  at::Tensor dgated = multiplied(w.down.amx, dout, w.down.weight);
  operators::activate_backward(a.activation_function, pass.up, dgated);
  add_weight_gradient(dw.up, pass.up, pass.x);
  return multiplied(w.up.amx, pass.up, w.up.weight);
}

/// sigmoid of the shared expert's gate [T, 1].
at::Tensor shared_gate(const ExpertWeights& weights, const at::Tensor& rows) {
  return at::sigmoid(applied(weights.shared_gate, rows));
}

}  // namespace

Routing route_rows(const Architecture& a, const ExpertWeights& weights, const at::Tensor& rows) {
  Routing routing;
  const at::TensorOptions sums = sums_of(rows);
  routing.probabilities = at::empty({rows.size(0), weights.router.n_out()}, sums);
  apply(weights.router, rows, routing.probabilities);
  routing.index = at::empty({rows.size(0), a.experts.per_token}, rows.options().dtype(at::kLong));
  routing.weight = at::empty({rows.size(0), a.experts.per_token}, sums);
  operators::route(routing.probabilities, a.experts.normalise, routing.index, routing.weight);
  return routing;
}

at::Tensor forward_in_turn(const Architecture& a, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows) {
  at::Tensor out = at::zeros_like(rows);
  const Assignments own(routing, weights);
  MlpPass pass;
  for (size_t e = 0; e < own.size(); ++e) {
    if (own.rows(e).empty()) continue;
    pass.take(rows, own.rows(e));
    forward_mlp(a, weights.own[e], pass);
    operators::add_scaled_rows(pass.out, own.rows(e), routing.weight, own.places(e), out);
  }
  return out;
}

at::Tensor forward_experts(const Architecture& a, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows) {
  const auto run = can_group(weights) ? forward_grouped : forward_in_turn;
  at::Tensor out = run(a, weights, routing, rows);
  if (weights.shared_gate.defined()) {
    out.add_(shared_mlp(a, weights, rows).out * shared_gate(weights, rows));
  }
  return out;
}

at::Tensor backward_in_turn(const Architecture& a, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const at::Tensor& rows,
                            const at::Tensor& dy, at::Tensor& dweight) {
  at::Tensor drows = at::zeros_like(rows);
  const Assignments own(routing, weights);
  MlpPass pass;
  for (size_t e = 0; e < own.size(); ++e) {
    if (own.rows(e).empty()) continue;
    pass.take(rows, own.rows(e));
    forward_mlp(a, weights.own[e], pass);
    const at::Tensor dout = taken(dy, own.rows(e));
    at::Tensor of_places = dweight.view({-1, 1});
    operators::put_rows((pass.out * dout).sum(1, true, dweight.scalar_type()), own.places(e),
                        of_places);
    const at::Tensor dx = backward_mlp(a, weights.own[e], dweights.own[e], pass,
                                       dout.mul_(weights_of(routing, own.places(e))));
    operators::add_scaled_rows(dx, own.rows(e), {}, {}, drows);
  }
  return drows;
}

at::Tensor backward_experts(const Architecture& a, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing,
                            const BalanceLoss& balance, const at::Tensor& rows,
                            const at::Tensor& dy) {
  at::Tensor dweight = at::zeros_like(routing.weight);
  const auto run = can_group(weights) ? backward_grouped : backward_in_turn;
  at::Tensor drows = run(a, weights, dweights, routing, rows, dy, dweight);
  at::Tensor dlogits = at::empty_like(routing.probabilities);
  operators::route_backward(routing.probabilities, routing.index, routing.weight,
                            a.experts.normalise, balance, dweight, dlogits);
  const at::Tensor factor = dlogits.to(rows.scalar_type());
  add_weight_gradient(dweights.router, factor, rows);
  multiply_onto(weights.router.amx, drows, factor, weights.router.weight);
  if (weights.shared_gate.defined()) {
    const at::Tensor gate = shared_gate(weights, rows);
    MlpPass shared = shared_mlp(a, weights, rows);
    const at::Tensor dgate = (shared.out * dy).sum(1, true) * gate * (1 - gate);
    add_weight_gradient(dweights.shared_gate, dgate, rows);
    multiply_onto(weights.shared_gate.amx, drows, dgate, weights.shared_gate.weight);
    drows.add_(backward_mlp(a, weights.shared, dweights.shared, shared, dy * gate));
  }
  return drows;
}

}  // namespace orrery::model
