#include "orrery/algorithm/kl_controller.h"

#include <algorithm>

namespace orrery::algorithm {

void KlController::update(double kl, int64_t n_steps) {
  if (options_.target == 0) return;
  const double error = std::clamp(kl / options_.target - 1, -0.2, 0.2);
  value_ *= 1 + error * static_cast<double>(n_steps) / options_.horizon;
}

}  // namespace orrery::algorithm
