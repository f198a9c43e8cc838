// What lies between the matmuls of an MLP: f(gate) * up, or f(up). Private to src/model.
// Shape letters: N rows, I hidden units.
#pragma once

#include <cstdint>

#include "orrery/model/architecture.h"

namespace orrery::model {

/// Which of them, and how many hidden units.
struct ActivationShape {
  ActivationFunction function = ActivationFunction::kSilu;
  bool is_gated = true;
  int64_t n_rows = 0;
  int64_t width = 0;  // I
};

///   up   [N, 2 I] gate and up, or [N, I] without a gate
///   out  [N, I]
template <class T>
void apply_activation(const ActivationShape& shape, const T* up, T* out);

///   dout  [N, I]
///   dup   as `up`, which it may be
///   out   [N, I] the forward result again; may be dout
template <class T>
void apply_hidden_backward(const ActivationShape& shape, const T* up, const T* dout, T* dup,
                           T* out);

}  // namespace orrery::model
