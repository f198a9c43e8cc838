// Which part of which row a block has, for kernels that do the same with every number.
#pragma once

#include "blocks/block.h"

namespace orrery::kernels::blocks {

constexpr int64_t kPartWidth = 1024;

constexpr int64_t parts_of_row(int64_t width) { return ceil_div(width, kPartWidth); }

struct RowPart {
  int64_t row, begin, end;
};

ORRERY_BLOCK RowPart row_part(int64_t block, int64_t width) {
  const int64_t parts = parts_of_row(width), begin = block % parts * kPartWidth;
  return {block / parts, begin, smaller_of(begin + kPartWidth, width)};
}

}  // namespace orrery::kernels::blocks
