// Counts of operations as the golden files write them.
#pragma once

#include <algorithm>
#include <string>

#include "orrery/metrics/flops.h"

namespace orrery {

/// Decimal digits of a count of 128 bits.
inline std::string flops_text(metrics::Flops flops) {
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(flops % 10));
    flops /= 10;
  } while (flops != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

}  // namespace orrery
