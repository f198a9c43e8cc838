// Where each parameter lies in a checkpoint of its family (families/). Private to src/model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>  // pair
#include <vector>

#include "orrery/model/parameter_table.h"

namespace orrery::model {

struct StoredPlace {
  std::string name;
  std::vector<int64_t> shape;     // of the stored tensor
  bool is_transposed = false;     // stored [in, out]
  int64_t first_row = 0;          // of the tensor as it multiplies (not transposed): where the
                                  // parameter begins
  int64_t part = 0, n_parts = 1;  // which of the parameters that share the tensor
};

/// The place of a parameter that files have as it is.
StoredPlace same_place(const ParameterSpec& spec);

using Renames = std::vector<std::pair<std::string_view, std::string_view>>;
/// The first old part that `name` has is replaced.
std::string renamed(std::string name, const Renames& renames);

StoredPlace stored_place(const Architecture& architecture, const ParameterSpec& spec);

/// What precedes the names of all tensors but the heads'; a checkpoint of the trunk alone lacks it.
std::string trunk_prefix(const Architecture& architecture);

}  // namespace orrery::model
