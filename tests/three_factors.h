// All degrees of parallelism of a number of workers, for tests that go through them.
#pragma once

#include <array>
#include <vector>

namespace orrery {

/// All ordered triples (a, b, c) with a * b * c == n, in lexicographic order; n >= 1.
inline std::vector<std::array<int, 3>> three_factors(int n) {
  std::vector<std::array<int, 3>> triples;
  for (int a = 1; a <= n; ++a) {
    if (n % a != 0) continue;
    for (int b = 1; b <= n / a; ++b) {
      if ((n / a) % b == 0) triples.push_back({a, b, n / a / b});
    }
  }
  return triples;
}

}  // namespace orrery
