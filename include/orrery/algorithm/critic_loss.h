// The clipped value loss of PPO. Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace orrery::algorithm {

enum class ValueDistance {
  kSquared,  ///< d^2 / 2
  kHuber,    ///< d^2 / 2 up to 10, then linear
};

/// `mse` or `huber`. Throws ConfigError for another name.
ValueDistance value_distance_named(std::string_view name);

struct CriticLossInput {
  at::Tensor values;      ///< [A] of the model being trained, differentiable
  at::Tensor old_values;  ///< [A] before this train step
  at::Tensor targets;     ///< [A] returns
  at::Tensor mask;        ///< [A] bool
};

struct CriticLossOptions {
  double clip_range = 0.2;
  ValueDistance distance = ValueDistance::kSquared;
};

/// All [A]; only `loss` is differentiable.
struct CriticLoss {
  at::Tensor loss;       ///< not masked
  at::Tensor clip_mask;  ///< bool: clipping made a difference
};

/// Per token: the larger distance to the target of the value and of the value clipped to
/// old_values +- clip_range. Throws ShapeError for sizes that differ.
CriticLoss critic_loss(const CriticLossInput& input, const CriticLossOptions& options);

}  // namespace orrery::algorithm
