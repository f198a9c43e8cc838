// Whether something grows over a training: its mean over the first tenth of the steps against that
// of the last, in standard errors of the difference.
#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>

namespace orrery::algorithm {

/// Growth by so many standard errors is learning.
inline constexpr double kErrors = 3;

/// Numbers of some steps, each counted once.
struct Sample {
  double n = 0, sum = 0, squares = 0;

  void add(double number) {
    n += 1;
    sum += number;
    squares += number * number;
  }
  void add(const at::Tensor& numbers) {
    n += static_cast<double>(numbers.numel());
    sum += numbers.sum().item<double>();
    squares += numbers.square().sum().item<double>();
  }
  double mean() const { return sum / n; }
  double square_of_error() const { return (squares / n - mean() * mean()) / (n - 1); }
};

struct Progress {
  Sample first, last;

  /// In standard errors of the difference.
  double gain() const {
    return (last.mean() - first.mean()) /
           std::sqrt(first.square_of_error() + last.square_of_error() + 1e-12);
  }
};

}  // namespace orrery::algorithm
