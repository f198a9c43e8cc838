// Weights that are not finite are refused where they are read: a broken export, a bad merge, a
// number that the wanted type cannot hold.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace orrery::model {

/// Throws CheckpointError that names the tensor when one of its numbers is NaN or infinite.
void check_finite_weights(const std::filesystem::path& directory, const std::string& name,
                          const at::Tensor& weights);

}  // namespace orrery::model
