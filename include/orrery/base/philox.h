// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers:
// as easy as 1, 2, 3. SC 2011). A draw is a pure function of key and counter, so nothing has to be
// saved for a resume, and it is the same on whichever rank and in whichever order it is made.
// C++17: GPU kernels draw by the same functions.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace orrery::base {

inline constexpr double kPi = 3.141592653589793238;

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

/// Four independent, uniform 32-bit words.
constexpr std::array<uint32_t, 4> philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

constexpr PhiloxKey philox_key(uint64_t key) {
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}
constexpr PhiloxCounter philox_counter(uint64_t low, uint64_t high) {
  return {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32), static_cast<uint32_t>(high),
          static_cast<uint32_t>(high >> 32)};
}

/// Two words as a double in [0, 1) with 53 random bits.
constexpr double uniform_from(uint32_t high, uint32_t low) {
  return static_cast<double>(((uint64_t{high} << 32) | low) >> 11) * 0x1p-53;
}

/// Uniform in [0, 1). `stream` names the purpose, `index` the draw.
constexpr double philox_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto words = philox4x32(philox_counter(index, stream), philox_key(seed));
  return uniform_from(words[0], words[1]);
}

/// Uniform integer in [0, bound), bound >= 1, by multiplication: biased by less than bound / 2^64.
constexpr uint64_t philox_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t bound) {
  const auto words = philox4x32(philox_counter(index, stream), philox_key(seed));
  const uint64_t word = (uint64_t{words[0]} << 32) | words[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(word) * bound) >> 64);
}

/// Four standard normal draws (Box-Muller on one block of four words).
inline std::array<double, 4> philox_normal4(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto words = philox4x32(philox_counter(index, stream), philox_key(seed));
  std::array<double, 4> draws{};
  for (size_t pair = 0; pair < 2; ++pair) {
    // (word + 1) / 2^32 lies in (0, 1], so that the logarithm is finite.
    const double radius = std::sqrt(-2 * std::log((words[2 * pair] + 1.0) * 0x1p-32));
    const double angle = 2 * kPi * (words[2 * pair + 1] * 0x1p-32);
    draws[2 * pair] = radius * std::cos(angle);
    draws[2 * pair + 1] = radius * std::sin(angle);
  }
  return draws;
}

}  // namespace orrery::base
