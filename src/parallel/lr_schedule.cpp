#include "orrery/parallel/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::parallel {

DecayStyle decay_style_named(std::string_view name) {
  if (name == "constant") return DecayStyle::kConstant;
  if (name == "linear") return DecayStyle::kLinear;
  if (name == "cosine") return DecayStyle::kCosine;
  if (name == "inverse-square-root") return DecayStyle::kInverseSquareRoot;
  throw ConfigError(base::concat("learning rate schedule '", name, "'"),
                    {.expected = "constant, linear, cosine or inverse-square-root",
                     .got = std::string(name),
                     .advice = {}});
}

double learning_rate(const LrScheduleOptions& o, int64_t step) {
  if (o.min_lr < 0 || o.min_lr > o.max_lr) {
    throw ConfigError("learning rate schedule: limits",
                      {.expected = "0 <= min_lr <= max_lr",
                       .got = base::concat(o.min_lr, " and ", o.max_lr),
                       .advice = {}});
  }
  if (o.warmup_steps < 0 || o.warmup_steps >= o.decay_steps) {
    throw ConfigError(
        "learning rate schedule: steps",
        {.expected = "a warm-up shorter than the whole schedule",
         .got = base::concat(o.warmup_steps, " of ", base::counted(o.decay_steps, "step")),
         .advice = "lower warmup_steps or raise total_steps"});
  }
  if (o.warmup_steps > 0 && step <= o.warmup_steps) {
    return o.init_lr +
           (o.max_lr - o.init_lr) * static_cast<double>(step) / static_cast<double>(o.warmup_steps);
  }
  if (o.style == DecayStyle::kConstant) return o.max_lr;
  if (step > o.decay_steps) return o.min_lr;
  if (o.style == DecayStyle::kInverseSquareRoot) {
    const double warmup = static_cast<double>(std::max<int64_t>(o.warmup_steps, 1));
    const double now = static_cast<double>(std::max<int64_t>(step, 1));
    return std::max(o.min_lr, o.max_lr * std::sqrt(warmup) / std::sqrt(now));
  }
  const double ratio = static_cast<double>(step - o.warmup_steps) /
                       static_cast<double>(o.decay_steps - o.warmup_steps);
  const double share =
      o.style == DecayStyle::kLinear ? 1 - ratio : 0.5 * (std::cos(std::numbers::pi * ratio) + 1);
  return o.min_lr + share * (o.max_lr - o.min_lr);
}

double rate_of_update(const LrScheduleOptions& o, int64_t update) {
  if (o.warmup_steps > 0) return learning_rate(o, update + 1);
  if (o.decay_steps <= 1) return learning_rate(o, 0);  // of one update: the peak
  LrScheduleOptions from_zero = o;
  from_zero.decay_steps = o.decay_steps - 1;
  return learning_rate(from_zero, update);
}

}  // namespace orrery::parallel
