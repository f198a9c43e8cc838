// y = x / sqrt(mean(x^2) + eps) * w, row by row, and its gradients. CPU; float and double.
// Shape letters: T tokens, G groups of one token that are normed alone (heads; 1 for a whole row),
// W width of a group.
#pragma once

#include <cstdint>

namespace orrery::kernels {

template <class T>
struct RmsNormArgs {
  const T* x = nullptr;       // [T] rows x_stride apart, each G * W contiguous
  const T* weight = nullptr;  // [W]
  T* y = nullptr;             // [T] rows y_stride apart; may be x
  T* rstd = nullptr;          // [T, G], 1 / sqrt(mean + eps); null: not wanted
  int64_t n_tokens = 0;
  int64_t n_groups = 1;
  int64_t width = 0;
  int64_t x_stride = 0;
  int64_t y_stride = 0;
  double eps = 0;
};

/// Local; any thread.
template <class T>
void rms_norm(const RmsNormArgs<T>& args);

/// What becomes of the numbers that are in the output already.
enum class Output { kOverwrite, kAdd };

template <class T>
struct RmsNormBackwardArgs {
  const T* x = nullptr;       // as in forward
  const T* weight = nullptr;  // [W]
  const T* rstd = nullptr;    // [T, G]
  const T* dy = nullptr;      // [T] rows dy_stride apart
  T* dx = nullptr;            // [T] rows dx_stride apart; may be dy
  T* dweight = nullptr;       // [W], added to
  int64_t n_tokens = 0;
  int64_t n_groups = 1;
  int64_t width = 0;
  int64_t x_stride = 0;
  int64_t dy_stride = 0;
  int64_t dx_stride = 0;
  Output dx_output = Output::kOverwrite;
};

template <class T>
void rms_norm_backward(const RmsNormBackwardArgs<T>& args);

}  // namespace orrery::kernels
