#include "orrery/master/best_model.h"

#include <cmath>

namespace orrery::master {

bool BestModel::note(int64_t step, std::optional<double> value) {
  const bool is_number = value && std::isfinite(*value);
  const bool is_best =
      is_number && (state_.step < 0 || (falls_ ? *value < state_.value : *value > state_.value));
  if (!is_best) {
    ++state_.n_without_rise;
    return false;
  }
  state_.step = step;
  state_.value = *value;
  state_.n_without_rise = 0;
  return true;
}

}  // namespace orrery::master
