// Memory of a forward or backward pass in one piece, used again by the next one: asking the system
// for fresh pages at every step costs as much as a tenth of the products of a small model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/model/arithmetic_type.h"

namespace orrery::model {

/// Hands out matrices from one allocation, one behind another. They keep the allocation alive.
class Arena {
 public:
  Arena() = default;
  explicit Arena(at::Tensor memory) : memory_(std::move(memory)) {}

  /// Numbers that a matrix takes, rounded up to whole cache lines.
  static int64_t size_of(int64_t rows, int64_t columns) { return (rows * columns + 15) / 16 * 16; }

  /// Numbers of `dtype` that a matrix of sums beside them takes.
  static int64_t size_of_sums(int64_t rows, int64_t columns, at::ScalarType dtype) {
    return size_of(rows, columns * (arithmetic_type(dtype) == dtype ? 1 : 2));
  }

  /// [rows, columns], uninitialised. The slab must have been taken large enough.
  at::Tensor matrix(int64_t rows, int64_t columns);
  /// The same of the type of sums beside the slab's numbers.
  at::Tensor sums(int64_t rows, int64_t columns);

 private:
  at::Tensor memory_;
  int64_t used_ = 0;
};

/// Slabs of one type on one device. A slab is free again when nothing refers to its memory any
/// more.
class ArenaPool {
 public:
  explicit ArenaPool(const at::TensorOptions& options) : options_(options) {}

  /// A slab of at least `numel` numbers.
  Arena take(int64_t numel);

  /// Of all slabs.
  int64_t size_bytes() const;

 private:
  at::TensorOptions options_;
  std::vector<at::Tensor> slabs_;
};

}  // namespace orrery::model
