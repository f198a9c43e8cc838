// Cosines and sines of rotary positions, with the frequencies scaled as the model asks: linear
// (Chen et al. 2023), llama3 (Llama 3.1), yarn (Peng et al. 2023). All in double, whatever the
// table's type. Private to src/model.
#pragma once

#include <cstdint>
#include <vector>

#include "orrery/model/architecture.h"

namespace orrery::model {

/// Radians a position of each pair of dims, [head_dim / 2].
std::vector<double> rope_frequencies(const Architecture& architecture);

/// cosines and sines [n_positions, head_dim / 2].
template <class T>
void fill_rope_table(const Architecture& architecture, int64_t n_positions, T* cosines, T* sines);

}  // namespace orrery::model
