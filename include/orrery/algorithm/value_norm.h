// Running normalisation of returns, so that a critic learns numbers near 1 whatever the size of the
// rewards (van Hasselt et al. 2016; Yu et al. 2022, MAPPO). State in double; one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "orrery/comm/communicator.h"

namespace orrery::algorithm {

enum class ValueNormKind {
  kExponential,    ///< moments decay with beta, debiased
  kMovingAverage,  ///< moments over everything seen
};

/// `exp` or `ma`. Throws ConfigError for another name.
ValueNormKind value_norm_kind_named(std::string_view name);

struct ValueNormOptions {
  ValueNormKind kind = ValueNormKind::kExponential;
  double beta = 0.99995;  ///< exponential
  double epsilon = 1e-5;  ///< exponential: the debiasing term is at least this
};

/// What a checkpoint keeps of it.
struct ValueNormState {
  double raw_mean = 0;
  double raw_mean_square = 0;
  double debias = 0;  ///< exponential
  double count = 0;   ///< moving average
};

class ValueNorm {
 public:
  explicit ValueNorm(ValueNormOptions options) : options_(options) {}

  /// Takes in x [n] floating where mask [n] bool is true (undefined: everywhere). A mask without a
  /// true element changes nothing, nor do numbers that are not finite. With `group`: collective
  /// over it, all ranks' elements count.
  void update(const at::Tensor& x, const at::Tensor& mask, comm::Communicator* group = nullptr);

  double mean() const;
  double std() const;  ///< at least 0.1

  /// (x - mean) / std within [-5, 5], fp32.
  at::Tensor normalize(const at::Tensor& x) const;
  /// x * std + mean, fp32.
  at::Tensor denormalize(const at::Tensor& x) const;

  const ValueNormState& state() const { return state_; }
  void restore(const ValueNormState& state) { state_ = state; }

 private:
  double weight() const;

  ValueNormOptions options_;
  ValueNormState state_;
};

}  // namespace orrery::algorithm
