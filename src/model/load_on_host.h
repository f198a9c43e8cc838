// Files are read by the host: what belongs on a GPU goes there one parameter after the other.
// Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace orrery::model {

/// Calls `read(values)` with a tensor of the host like `parameter`, or that itself, and leaves in
/// `parameter` what it wrote.
template <class Read>
void load_on_host(const at::Tensor& parameter, const Read& read) {
  if (parameter.is_cpu()) return read(parameter);
  const at::Tensor values = at::empty(parameter.sizes(), parameter.options().device(at::kCPU));
  read(values);
  parameter.copy_(values);
}

}  // namespace orrery::model
