// When to evaluate, export or save: every so many steps, epochs or seconds, whichever comes first.
// Pure: the caller says what has passed. Main thread of the master.
#pragma once

#include <cstdint>

namespace orrery::master {

/// 0 switches a condition off.
struct Frequency {
  int64_t every_steps = 0;
  int64_t every_epochs = 0;
  double every_seconds = 0;
  bool at_first_check = false;  ///< fires at the first check whatever has passed

  bool is_ever() const {
    return every_steps > 0 || every_epochs > 0 || every_seconds > 0 || at_first_check;
  }
};

/// What has passed since the check before.
struct Passed {
  int64_t steps = 0;
  int64_t epochs = 0;
  double seconds = 0;
};

class FrequencyControl {
 public:
  /// What a checkpoint keeps of a control.
  struct State {
    int64_t steps = 0;
    int64_t epochs = 0;
    double seconds = 0;
    bool has_checked = false;

    template <class Archive>
    void serialize(Archive& archive) {
      archive(steps, epochs, seconds, has_checked);
    }
    bool operator==(const State&) const = default;
  };

  FrequencyControl() = default;
  explicit FrequencyControl(Frequency frequency) : frequency_(frequency) {}

  /// Adds what has passed; true when a condition is met. Each condition counts from when it was
  /// last met itself. Local.
  bool check(const Passed& passed);

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  Frequency frequency_;
  State state_;
};

}  // namespace orrery::master
