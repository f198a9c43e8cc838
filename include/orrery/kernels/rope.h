// Rotary positions, in place, in the halves convention of Hugging Face: element d of a head is
// rotated with element d + D/2. The backward pass is the rotation by the opposite angle.
#pragma once

#include <cstdint>

namespace orrery::kernels {

enum class Rotation { kForward, kBackward };

template <class T>
struct RopeArgs {
  T* x = nullptr;                      // [T] rows x_stride apart, each n_heads * head_dim
  const int32_t* positions = nullptr;  // [T]
  const T* cosines = nullptr;          // [max position + 1, head_dim / 2]
  const T* sines = nullptr;            // [max position + 1, head_dim / 2]
  int64_t n_tokens = 0;
  int64_t n_heads = 0;
  int64_t head_dim = 0;  // even
  int64_t x_stride = 0;
  Rotation rotation = Rotation::kForward;
};

/// Local; any thread.
template <class T>
void rope(const RopeArgs<T>& args);

/// cosines and sines [n_positions, head_dim / 2] of position * theta^(-2 d / head_dim). The angles
/// are formed in double whatever T is.
template <class T>
void fill_rope_table(T* cosines, T* sines, int64_t n_positions, int64_t head_dim, double theta);

}  // namespace orrery::kernels
