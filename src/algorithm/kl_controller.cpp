#include "orrery/algorithm/kl_controller.h"

#include <algorithm>
#include <cmath>

namespace orrery::algorithm {

void KlController::update(double kl, int64_t n_steps) {
  if (options_.target == 0 || !std::isfinite(kl)) return;  // once NaN it would stay so
  const double error = std::clamp(kl / options_.target - 1, -0.2, 0.2);
  value_ *= 1 + error * static_cast<double>(n_steps) / options_.horizon;
}

}  // namespace orrery::algorithm
