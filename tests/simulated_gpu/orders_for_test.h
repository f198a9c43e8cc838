// Tests in every order of streams: INSTANTIATE_TEST_SUITE_P(EveryOrder, Suite, kEveryOrder,
// name_of);
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "streams.h"

namespace orrery::simulated_gpu {

inline const auto kEveryOrder = testing::Values(Order::kLate, Order::kReversed, Order::kEager);

inline std::string name_of(const testing::TestParamInfo<Order>& order) {
  constexpr const char* kNames[] = {"Late", "Reversed", "Eager"};
  return kNames[static_cast<int>(order.param)];
}

}  // namespace orrery::simulated_gpu
