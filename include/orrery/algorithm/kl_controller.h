// The weight of the KL reward: fixed, or steered towards a target divergence (Ziegler et al. 2019,
// Fine-Tuning Language Models from Human Preferences). Plain values; one thread.
#pragma once

#include <cstdint>

namespace orrery::algorithm {

struct AdaptiveKl {
  double target = 6;
  double horizon = 10'000;
};

class KlController {
 public:
  static KlController fixed(double value) { return KlController(value, {.target = 0}); }
  static KlController adaptive(double initial, AdaptiveKl options) {
    return KlController(initial, options);
  }

  double value() const { return value_; }
  void restore(double value) { value_ = value; }

  /// Adaptive: value *= 1 + clip(kl / target - 1, -0.2, 0.2) * n_steps / horizon. Fixed: nothing;
  /// nor for a divergence that is not finite.
  ///   kl       mean divergence from the reference, positive when the model has moved away
  ///   n_steps  sequences that it was measured on
  void update(double kl, int64_t n_steps);

 private:
  KlController(double value, AdaptiveKl options) : value_(value), options_(options) {}

  double value_;
  AdaptiveKl options_;  // target 0: fixed
};

}  // namespace orrery::algorithm
