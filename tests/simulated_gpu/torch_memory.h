// What the operators of the simulated libtorch_cuda.so share.
#pragma once

#include <ATen/core/Tensor.h>

#include "streams.h"

namespace orrery::simulated_gpu {

inline bool is_on_gpu(const at::Tensor& x) { return x.defined() && x.is_cuda(); }

/// The current stream of a device, of the calling thread.
Stream current_stream(c10::Device device);

/// A CPU tensor over the address that work on a stream uses. Keeps nothing alive: like a kernel, it
/// has an address only.
at::Tensor view_for_work(const at::Tensor& x);

/// New, filled with NaN in the order of the current stream: what LibTorch gives a second time holds
/// nothing of the first.
at::Tensor new_tensor(c10::IntArrayRef sizes, c10::IntArrayRef strides, c10::ScalarType type,
                      c10::Device device);

}  // namespace orrery::simulated_gpu
