// The learning rate as a function of the optimizer step. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orrery::parallel {

enum class DecayStyle { kConstant, kLinear, kCosine, kInverseSquareRoot };

/// `constant`, `linear`, `cosine` or `inverse-square-root`. Throws ConfigError for another name.
DecayStyle decay_style_named(std::string_view name);

struct LrScheduleOptions {
  double init_lr = 0;        ///< where the warm-up begins
  double max_lr = 1e-5;      ///< reached at the end of the warm-up
  double min_lr = 0;         ///< from decay_steps on, unless the style is constant
  int64_t warmup_steps = 0;  ///< linear
  int64_t decay_steps = 1;   ///< counted from step 0, warm-up included; above warmup_steps
  DecayStyle style = DecayStyle::kConstant;
};

/// Rate of optimizer step `step` (from 0): linear from init_lr to max_lr while step <=
/// warmup_steps; then max_lr (constant); min_lr after decay_steps; in between linear or cosine in
/// (step - warmup) / (decay - warmup), or max_lr * sqrt(warmup / step).
/// Throws ConfigError unless 0 <= min_lr <= max_lr and warmup_steps < decay_steps.
double learning_rate(const LrScheduleOptions& options, int64_t step);

/// Rate of the `update`-th of decay_steps updates (from 0): that of a step counted so that no
/// update is made with the rate 0 of a warm-up's begin, update warmup_steps - 1 (without a warm-up:
/// 0) has max_lr, and the last one min_lr, unless the style is constant.
double rate_of_update(const LrScheduleOptions& options, int64_t update);

}  // namespace orrery::parallel
