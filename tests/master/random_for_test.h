// Seeds of property tests: ORRERY_SEED if set, else a fixed one; printed, so that a failure can be
// repeated.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace orrery::master {

inline uint64_t base_seed() {
  static const uint64_t seed = [] {
    const char* const text = std::getenv("ORRERY_SEED");
    const uint64_t value = text == nullptr ? 20240607 : std::stoull(text);
    std::cout << "ORRERY_SEED=" << value << '\n';
    return value;
  }();
  return seed;
}

/// The generator of one case of a property test.
class Random {
 public:
  explicit Random(int round) : engine_(base_seed() + static_cast<uint64_t>(round)) {}

  /// Uniform in [low, high].
  int between(int low, int high) {
    return low + static_cast<int>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(0, 99) < percent; }
  template <class Container>
  void shuffle(Container& items) {
    for (int i = static_cast<int>(items.size()) - 1; i > 0; --i) {
      std::swap(items[static_cast<size_t>(i)], items[static_cast<size_t>(between(0, i))]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace orrery::master
