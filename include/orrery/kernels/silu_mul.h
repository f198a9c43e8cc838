// The gate of a gated MLP: silu(gate) * up, and its gradients. Gate and up are the halves of one
// row, as one fused matmul leaves them. Shape letters: T tokens, I intermediate size.
#pragma once

#include <cstdint>

namespace orrery::kernels {

template <class T>
struct SiluMulArgs {
  const T* gate_up = nullptr;  // [T, 2 I]
  T* out = nullptr;            // [T, I]
  int64_t n_tokens = 0;
  int64_t width = 0;  // I
};

/// Local; any thread.
template <class T>
void silu_mul(const SiluMulArgs<T>& args);

template <class T>
struct SiluMulBackwardArgs {
  const T* gate_up = nullptr;  // [T, 2 I]
  const T* dout = nullptr;     // [T, I]
  T* dgate_up = nullptr;       // [T, 2 I]; may be gate_up
  T* out = nullptr;            // [T, I] the forward result again, for the matmul that needs it; may
                               // be dout
  int64_t n_tokens = 0;
  int64_t width = 0;
};

template <class T>
void silu_mul_backward(const SiluMulBackwardArgs<T>& args);

}  // namespace orrery::kernels
