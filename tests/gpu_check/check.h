// The parts of a check of one GPU. Each compares kernels with what the CPU computes from the same
// numbers and times them at the sizes that models have; a small check has sizes that a simulated
// GPU works off in seconds. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "device.h"
#include "figures.h"
#include "orrery/kernels/bf16.h"

namespace orrery::gpu_check {

enum class Sizes { kFull, kSmall };

struct Check {
  DeviceFacts device;
  Sizes sizes;
  Timer timer;
  Figures& figures;
  int64_t bytes_taken_before = 0;       ///< of the GPU, before this program used it
  std::filesystem::path fixtures = {};  ///< with shapes/, Hugging Face's config.json of models
  /// Of a copy on the device, reads and writes counted: the roofline of all that follows. Set by
  /// check_bandwidth(); none: it could not be measured.
  std::optional<double> bytes_per_second = {};

  bool is_small() const { return sizes == Sizes::kSmall; }
  /// A time in us that begins with the time for `bytes` at that rate.
  std::optional<double> roofline_us(int64_t bytes) const {
    if (!bytes_per_second) return std::nullopt;
    return static_cast<double>(bytes) / *bytes_per_second * 1e6;
  }
};

void check_bandwidth(Check& check);
/// The first of these figures alone.
void check_copy_on_device(Check& check);
void check_launches(Check& check);
void check_decode_attention(Check& check);
void check_sampling(Check& check);
void check_log_probs(Check& check);
void check_strided_copies(Check& check);
void check_gae(Check& check);
void check_layers(Check& check);
/// What `orrery plan --device cuda` allows for beside the job's own tensors; after the other parts,
/// when all kernels are loaded.
void check_allowances(Check& check);

/// Uniform in [-scale, scale), as good as benchmarks and comparisons need, and quick.
template <class T>
std::vector<T> random_numbers(int64_t n, float scale, uint64_t seed) {
  std::vector<T> numbers(static_cast<size_t>(n));
  uint64_t state = seed * 2 + 1;
  for (T& number : numbers) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const float uniform = static_cast<float>(state >> 40) * 0x1p-24F;
    number = kernels::Arithmetic<T>::to(
        static_cast<typename kernels::Arithmetic<T>::Type>(scale * (2 * uniform - 1)));
  }
  return numbers;
}

template <class T>
std::vector<double> as_doubles(const std::vector<T>& numbers) {
  std::vector<double> result(numbers.size());
  std::transform(numbers.begin(), numbers.end(), result.begin(),
                 [](T x) { return static_cast<double>(kernels::Arithmetic<T>::from(x)); });
  return result;
}

/// What is on the GPU against the CPU's `expected`, which repeats.
template <class T, class U>
Comparison compare(const DeviceArray<T>& got, const std::vector<U>& expected, double allowed) {
  return {.difference = largest_difference(as_doubles(got.host()), as_doubles(expected)),
          .allowed = allowed};
}

}  // namespace orrery::gpu_check
