#include "arena.h"

#include <ATen/ops/empty.h>

namespace orrery::model {

at::Tensor Arena::matrix(int64_t rows, int64_t columns) {
  at::Tensor result = memory_.narrow(0, used_, rows * columns).view({rows, columns});
  used_ += size_of(rows, columns);
  return result;
}

at::Tensor Arena::sums(int64_t rows, int64_t columns) {
  const at::ScalarType type = arithmetic_type(memory_.scalar_type());
  if (type == memory_.scalar_type()) return matrix(rows, columns);
  const int64_t numel = size_of_sums(rows, columns, memory_.scalar_type());
  const at::Tensor memory = memory_.narrow(0, used_, numel).view(type);
  used_ += numel;
  return memory.narrow(0, 0, rows * columns).view({rows, columns});
}

Arena ArenaPool::take(int64_t numel) {
  at::Tensor* unused = nullptr;
  for (at::Tensor& slab : slabs_) {
    if (slab.storage().use_count() != 1) continue;
    if (slab.numel() >= numel) return Arena(slab);
    unused = &slab;
  }
  at::Tensor fresh = at::empty({numel + numel / 8}, options_);
  if (unused != nullptr) {
    *unused = fresh;  // too small for this batch, so probably for the next ones
  } else {
    slabs_.push_back(fresh);
  }
  return Arena(fresh);
}

int64_t ArenaPool::size_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor& slab : slabs_) bytes += static_cast<int64_t>(slab.nbytes());
  return bytes;
}

}  // namespace orrery::model
