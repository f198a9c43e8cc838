#include "orrery/algorithm/value_norm.h"

#include <algorithm>
#include <cmath>

#include "orrery/base/error.h"

namespace orrery::algorithm {

ValueNormKind value_norm_kind_named(std::string_view name) {
  if (name == "exp") return ValueNormKind::kExponential;
  if (name == "ma") return ValueNormKind::kMovingAverage;
  throw ConfigError("kind of value normalisation",
                    {.expected = "exp or ma", .got = std::string(name), .advice = {}});
}

void ValueNorm::update(const at::Tensor& x, const at::Tensor& mask, comm::Communicator* group) {
  at::Tensor wide = x.to(at::kDouble);
  double count = static_cast<double>(x.numel());
  if (mask.defined()) {
    wide = at::where(mask.to(at::kBool), wide, 0.0);
    count = mask.sum().item<double>();
  }
  at::Tensor sums = at::tensor(
      {wide.sum().item<double>(), wide.square().sum().item<double>(), count}, at::kDouble);
  if (group != nullptr && group->size() > 1) group->all_reduce(sums, comm::ReduceOp::kSum);
  const double* all = sums.const_data_ptr<double>();
  // Moments that were once NaN would stay so. The same on all ranks: these are the sums of all.
  if (all[2] == 0 || !std::isfinite(all[0]) || !std::isfinite(all[1])) return;

  if (options_.kind == ValueNormKind::kExponential) {
    const double beta = options_.beta;
    state_.raw_mean = beta * state_.raw_mean + (1 - beta) * all[0] / all[2];
    state_.raw_mean_square = beta * state_.raw_mean_square + (1 - beta) * all[1] / all[2];
    state_.debias = beta * state_.debias + (1 - beta);
  } else {
    const double total = state_.count + all[2];
    state_.raw_mean = (state_.raw_mean * state_.count + all[0]) / total;
    state_.raw_mean_square = (state_.raw_mean_square * state_.count + all[1]) / total;
    state_.count = total;
  }
}

/// What the raw moments are divided by.
double ValueNorm::weight() const {
  if (options_.kind == ValueNormKind::kMovingAverage) return 1;
  return std::max(state_.debias, options_.epsilon);
}

double ValueNorm::mean() const { return state_.raw_mean / weight(); }

double ValueNorm::std() const {
  const double variance = state_.raw_mean_square / weight() - mean() * mean();
  return std::sqrt(std::max(variance, 0.01));
}

at::Tensor ValueNorm::normalize(const at::Tensor& x) const {
  return ((x.to(at::kDouble) - mean()) / std()).clamp(-5, 5).to(at::kFloat);
}

at::Tensor ValueNorm::denormalize(const at::Tensor& x) const {
  return (x.to(at::kDouble) * std() + mean()).to(at::kFloat);
}

}  // namespace orrery::algorithm
