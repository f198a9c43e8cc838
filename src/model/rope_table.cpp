#include "rope_table.h"

#include <ATen/ops/empty.h>

#include <algorithm>  // clamp, max, min
#include <cmath>      // pow, log, cos, sin
#include <numbers>    // pi
#include <vector>

#include "dispatch.h"

namespace orrery::model {
namespace {

/// Long waves are divided by the factor, short ones kept, those between get some of both.
double llama3_frequency(double frequency, const RopeScaling& rope) {
  const double wave = 2 * std::numbers::pi / frequency;
  if (wave < rope.original_positions / rope.high_frequency_factor) return frequency;
  if (wave > rope.original_positions / rope.low_frequency_factor) return frequency / rope.factor;
  const double kept = (rope.original_positions / wave - rope.low_frequency_factor) /
                      (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - kept) * frequency / rope.factor + kept * frequency;
}

/// The pair whose wave turns `turns` times in the context of pretraining.
double yarn_pair(const Architecture& a, double turns) {
  return static_cast<double>(a.head_dim) *
         std::log(a.rope.original_positions / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(a.rope_theta));
}

void scale_yarn(const Architecture& a, std::vector<double>& frequencies) {
  double low = yarn_pair(a, a.rope.beta_fast), high = yarn_pair(a, a.rope.beta_slow);
  if (a.rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(a.head_dim - 1));
  if (low == high) high += 0.001;  // as in the reference: no division by zero
  for (size_t pair = 0; pair < frequencies.size(); ++pair) {
    const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
    frequencies[pair] = frequencies[pair] / a.rope.factor * ramp + frequencies[pair] * (1 - ramp);
  }
}

/// Radians a position of each pair of dims, [head_dim / 2].
std::vector<double> rope_frequencies(const Architecture& a) {
  std::vector<double> frequencies(static_cast<size_t>(a.head_dim / 2));
  for (size_t pair = 0; pair < frequencies.size(); ++pair) {
    frequencies[pair] =
        std::pow(a.rope_theta, -2.0 * static_cast<double>(pair) / static_cast<double>(a.head_dim));
  }
  if (a.rope.kind == RopeKind::kYarn) scale_yarn(a, frequencies);
  for (double& frequency : frequencies) {
    if (a.rope.kind == RopeKind::kLinear) frequency /= a.rope.factor;
    if (a.rope.kind == RopeKind::kLlama3) frequency = llama3_frequency(frequency, a.rope);
  }
  return frequencies;
}

/// What the layers of Rotary::kLocal turn by: local_rope_theta, not scaled.
Architecture local_rope(Architecture architecture) {
  architecture.rope_theta = architecture.local_rope_theta;
  architecture.rope = {};
  return architecture;
}

/// cosines and sines [n_positions, head_dim / 2].
template <class T>
void fill_rope_table(const Architecture& a, int64_t n_positions, T* cosines, T* sines) {
  const std::vector<double> frequencies = rope_frequencies(a);
  const double scale = a.rope.kind == RopeKind::kYarn ? a.rope.attention_factor : 1;
  for (int64_t position = 0; position < n_positions; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      *cosines++ = static_cast<T>(scale * std::cos(angle));
      *sines++ = static_cast<T>(scale * std::sin(angle));
    }
  }
}

RopeTable table_of(const Architecture& architecture, int64_t n_positions,
                   const at::TensorOptions& options) {
  const at::TensorOptions host = options.device(at::kCPU);
  const int64_t half = architecture.head_dim / 2;
  RopeTable table{at::empty({n_positions, half}, host), at::empty({n_positions, half}, host)};
  with_type(c10::typeMetaToScalarType(options.dtype()), [&]<class T>() {
    fill_rope_table<T>(architecture, n_positions, table.cosines.data_ptr<T>(),
                       table.sines.data_ptr<T>());
  });
  const c10::Device device = options.device();
  if (!device.is_cpu()) return {table.cosines.to(device), table.sines.to(device)};
  return table;
}

}  // namespace

void RopeTables::extend(const Architecture& architecture, int64_t n_positions,
                        const at::TensorOptions& options) {
  const int64_t have = global_.cosines.defined() ? global_.cosines.size(0) : 0;
  if (n_positions <= have || architecture.learned_positions) return;
  const int64_t rows =
      std::min(architecture.max_positions, std::max<int64_t>(n_positions, 2 * have));
  global_ = table_of(architecture, rows, options);
  if (architecture.local_rope_theta > 0) local_ = table_of(local_rope(architecture), rows, options);
}

const RopeTable& RopeTables::of(Rotary rotary) const {
  if (rotary == Rotary::kNone) return none_;
  return rotary == Rotary::kLocal ? local_ : global_;
}

}  // namespace orrery::model
