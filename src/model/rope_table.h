// Cosines and sines of rotary positions, with the frequencies scaled as the model asks: linear
// (Chen et al. 2023), llama3 (Llama 3.1), yarn (Peng et al. 2023). All in double, whatever the
// table's type. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/model/architecture.h"

namespace orrery::model {

/// [positions, D / 2] each.
struct RopeTable {
  at::Tensor cosines, sines;  // undefined: nothing turns
};

/// Those of a model's layers, as long as its passes needed so far.
class RopeTables {
 public:
  /// Makes them long enough for `n_positions`; nothing to do for learned positions.
  void extend(const Architecture& architecture, int64_t n_positions,
              const at::TensorOptions& options);

  /// Of the layers with these positions.
  const RopeTable& of(Rotary rotary) const;

 private:
  RopeTable none_, global_;
  RopeTable local_;  // local_rope_theta, not scaled; undefined: no layer has it
};

}  // namespace orrery::model
