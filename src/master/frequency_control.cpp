#include "orrery/master/frequency_control.h"

#include <utility>

namespace orrery::master {

bool FrequencyControl::check(const Passed& passed) {
  bool fires = false;
  const auto count = [&fires](auto& so_far, auto more, auto limit) {
    so_far += more;
    if (limit <= 0 || so_far < limit) return;
    so_far = 0;
    fires = true;
  };
  count(state_.steps, passed.steps, frequency_.every_steps);
  count(state_.epochs, passed.epochs, frequency_.every_epochs);
  count(state_.seconds, passed.seconds, frequency_.every_seconds);
  const bool is_first = !std::exchange(state_.has_checked, true);
  if (is_first && frequency_.at_first_check) {
    state_ = {.has_checked = true};
    fires = true;
  }
  return fires;
}

}  // namespace orrery::master
