// What a checkpoint is made of: rectangles of named matrices. A parameter, a moment of the
// optimizer or an average is one matrix under one name; whatever shards it is spread over, each
// writes the rectangle that it holds and reads the rectangle that it wants. A vector is n rows of
// one column.
#pragma once

#include <cstdint>
#include <string>

#include "orrery/data/dtype.h"

namespace orrery::checkpoint {

/// Example: rows 128 to 255 of a [512, 128] weight:
/// {.name = "actor/parameters/lm_head.weight", .rows = 512, .columns = 128, .first_row = 128,
///  .n_rows = 128, .n_columns = 128}
struct Slab {
  std::string name;
  data::DType dtype = data::DType::kF32;
  int64_t rows = 0;  ///< of the whole matrix
  int64_t columns = 0;
  int64_t first_row = 0;
  int64_t first_column = 0;
  int64_t n_rows = 0;
  int64_t n_columns = 0;

  int64_t numel() const { return n_rows * n_columns; }
  int64_t size_bytes() const { return numel() * data::size_bytes(dtype); }
  bool operator==(const Slab&) const = default;
};

}  // namespace orrery::checkpoint
