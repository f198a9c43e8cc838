// Where kernels on a tensor's GPU are launched. Compiles without CUDA's headers.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::model {

/// The calling thread's current stream of the device of `x`, a CUDA tensor.
inline cudaStream_t stream_of(const at::Tensor& x) {
  const c10::impl::VirtualGuardImpl device(c10::kCUDA);
  return static_cast<cudaStream_t>(device.getStream(x.device()).native_handle());
}

}  // namespace orrery::model
