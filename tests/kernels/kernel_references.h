// What the kernel tests share: sizes that meet every tail, random numbers, both instruction sets,
// and the comparison |a - b| <= bound (1 + |b|).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernel_table.h"
#include "orrery/base/philox.h"

namespace orrery::kernels {

/// Empty, one, around a register, a panel and a page, and primes.
inline const std::vector<int64_t> kSizes = {0, 1, 7, 8, 9, 16, 31, 32, 33, 97, 211};

/// Uniform in [-1, 1).
template <class T>
std::vector<T> random_numbers(int64_t n, uint64_t stream) {
  std::vector<T> numbers(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    numbers[static_cast<size_t>(i)] =
        static_cast<T>(2 * base::philox_uniform(7, stream, static_cast<uint64_t>(i)) - 1);
  }
  return numbers;
}

/// Sums of a few hundred products of numbers below 1: about 100 roundings.
template <class T>
constexpr double bound() {
  return sizeof(T) == 4 ? 2e-5 : 1e-13;
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& expected,
                 double limit = bound<T>()) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(got[i]), expected[i], limit * (1 + std::abs(expected[i])))
        << "at " << i;
  }
}

/// The tables that this machine can run.
inline std::vector<InstructionSet> runnable_sets() {
  std::vector<InstructionSet> sets{InstructionSet::kBaseline};
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (best_instruction_set() >= set) sets.push_back(set);
  }
  return sets;
}

/// Calls work.template operator()<T>(table) for float and double and every instruction set.
template <class Work>
void on_every_table(Work&& work) {
  for (const InstructionSet set : runnable_sets()) {
    static constexpr const char* kNames[] = {"baseline", "avx2", "avx512"};
    SCOPED_TRACE(kNames[static_cast<int>(set)]);
    {
      SCOPED_TRACE("float");
      work.template operator()<float>(kernel_table<float>(set));
    }
    {
      SCOPED_TRACE("double");
      work.template operator()<double>(kernel_table<double>(set));
    }
  }
}

}  // namespace orrery::kernels
