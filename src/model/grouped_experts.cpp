#include "grouped_experts.h"

#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>

#include <cstdint>
#include <tuple>

#include "cuda_operators.h"
#include "operators.h"
#include "orrery/kernels/gpu.h"

namespace orrery::model {
namespace {

/// Of addresses and strides, in numbers of bf16.
constexpr int64_t kAlignment = 8;

/// One matrix of all own experts, [E, rows, columns]: they lie equally far apart in the buffer of
/// all parameters, an expert's matrices one behind another.
at::Tensor matrices(const ExpertWeights& weights, Linear MlpWeights::*which) {
  const at::Tensor& first = (weights.own.front().*which).weight;
  const auto n = static_cast<int64_t>(weights.own.size());
  const int64_t apart =
      n == 1 ? first.numel()
             : (weights.own[1].*which).weight.storage_offset() - first.storage_offset();
  return first.as_strided({n, first.size(0), first.size(1)}, {apart, first.size(1), 1});
}

bool is_aligned(const at::Tensor& matrices) {
  return matrices.size(2) % kAlignment == 0 && matrices.stride(0) % kAlignment == 0 &&
         matrices.storage_offset() % kAlignment == 0;
}

/// The places [T * K] of all tokens sorted by the own expert that has them, in the order of the
/// tokens; those of other tensor ranks' experts come last.
struct Groups {
  at::Tensor order;         // [P] int64, of the sorted places
  at::Tensor rows;          // [P] int64, tokens of the sorted places; -1: no own expert's
  at::Tensor sorted;        // [T * K] int64, where a place is among them; -1 likewise
  at::Tensor begins, ends;  // [E] int32, of each expert's places

  Groups(const ExpertWeights& weights, const Routing& routing) {
    const auto n_own = static_cast<int64_t>(weights.own.size());
    at::Tensor expert = routing.index.view({-1}) - weights.first;
    const bool has_others = n_own < weights.router.n_out();
    if (has_others) expert.masked_fill_(expert.lt(0), n_own);
    const auto [of_place, places] = in_order(expert);
    const at::Tensor bounds = at::searchsorted(
        of_place, at::arange(0, n_own + 1, 1, expert.options()), /*out_int32=*/true);
    begins = bounds.narrow(0, 0, n_own);
    ends = bounds.narrow(0, 1, n_own);
    order = places;
    rows = order.div(routing.index.size(1), "floor");
    sorted = std::get<1>(in_order(order));  // the places of a permutation in order are its inverse
    if (!has_others) return;
    rows.masked_fill_(of_place.ge(n_own), -1);
    sorted.masked_fill_(expert.ge(n_own), -1);
  }

 private:
  /// Numbers from the smallest on, equal ones as they stood, and where they stood.
  static std::tuple<at::Tensor, at::Tensor> in_order(const at::Tensor& numbers) {
    return at::sort(numbers, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  }
};

/// x [n, columns] -> its rows by their numbers, zeros for -1.
at::Tensor taken(const at::Tensor& x, const at::Tensor& numbers) {
  at::Tensor out = at::empty({numbers.numel(), x.size(1)}, x.options());
  operators::cuda::take_rows(x, numbers, kernels::Output::kOverwrite, out);
  return out;
}

/// Each expert's rows of x [P, in] times its matrix of [E, in, out]: [P, out], of other rows
/// anything.
at::Tensor matmul(const at::Tensor& x, const at::Tensor& matrices, const Groups& groups) {
  return at::_grouped_mm(x, matrices, groups.ends);
}

/// a [P, rows] and b [P, columns] -> of each expert's rows a^T b, [E, rows, columns].
at::Tensor outer_matmul(const at::Tensor& a, const at::Tensor& b, const Groups& groups) {
  at::Tensor products = at::_grouped_mm(a.t(), b, groups.ends);
  // Whether kernels write those of no rows is not said.
  return products.masked_fill_(groups.begins.eq(groups.ends).view({-1, 1, 1}), 0);
}

void add_gradients(const at::Tensor& products, ExpertWeights& dweights, Linear MlpWeights::*which) {
  for (size_t e = 0; e < dweights.own.size(); ++e) {
    (dweights.own[e].*which).weight.add_(products.select(0, static_cast<int64_t>(e)));
  }
}

/// Rows of the sorted places through their experts.
struct Pass {
  at::Tensor x;      // [P, H]
  at::Tensor up;     // [P, 2 I]
  at::Tensor gated;  // [P, I]
  at::Tensor out;    // [P, H]

  Pass(const Architecture& a, const ExpertWeights& weights, const Groups& groups,
       const at::Tensor& rows)
      : x(taken(rows, groups.rows)),
        up(matmul(x, matrices(weights, &MlpWeights::up).transpose(1, 2), groups)),
        gated(at::empty({x.size(0), weights.own.front().down.n_in()}, x.options())) {
    operators::activate(a.activation_function, up, gated);
    out = matmul(gated, matrices(weights, &MlpWeights::down).transpose(1, 2), groups);
  }
};

/// Of the sorted places [P, H] -> the sum of each token's [T, H].
at::Tensor summed(const at::Tensor& of_places, const Routing& routing) {
  return of_places.view({routing.index.size(0), routing.index.size(1), -1}).sum(1);
}

}  // namespace

bool can_group(const ExpertWeights& weights) {
  if (weights.own.empty()) return false;
  const at::Tensor& first = weights.own.front().up.weight;
  if (!first.is_cuda() || first.scalar_type() != at::kBFloat16) return false;
  const int capability = kernels::gpu_compute_capability(first.device().index());
  return capability >= 90 && capability < 110 && is_aligned(matrices(weights, &MlpWeights::up)) &&
         is_aligned(matrices(weights, &MlpWeights::down));
}

at::Tensor forward_grouped(const Architecture& architecture, const ExpertWeights& weights,
                           const Routing& routing, const at::Tensor& rows) {
  const Groups groups(weights, routing);
  const Pass pass(architecture, weights, groups, rows);
  at::Tensor of_places = taken(pass.out, groups.sorted);
  return summed(of_places.mul_(routing.weight.view({-1, 1})), routing);
}

at::Tensor backward_grouped(const Architecture& architecture, const ExpertWeights& weights,
                            ExpertWeights& dweights, const Routing& routing, const at::Tensor& rows,
                            const at::Tensor& dy, at::Tensor& dweight) {
  const Groups groups(weights, routing);
  Pass pass(architecture, weights, groups, rows);
  at::Tensor dout = taken(dy, groups.rows);
  const at::Tensor shares = (pass.out * dout).sum(1, true, dweight.scalar_type());
  dweight.view({-1, 1}).add_(taken(shares, groups.sorted));
  dout.mul_(taken(routing.weight.view({-1, 1}), groups.order));

  add_gradients(outer_matmul(dout, pass.gated, groups), dweights, &MlpWeights::down);
  at::Tensor dgated = matmul(dout, matrices(weights, &MlpWeights::down), groups);
  operators::activate_backward(architecture.activation_function, pass.up, dgated);
  add_gradients(outer_matmul(pass.up, pass.x, groups), dweights, &MlpWeights::up);
  const at::Tensor dx = matmul(pass.up, matrices(weights, &MlpWeights::up), groups);
  return summed(taken(dx, groups.sorted), routing);
}

}  // namespace orrery::model
