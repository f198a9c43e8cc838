// libtorch_cuda.so of the simulated GPUs: operators that make, view, copy and read memory.
#include "torch_memory.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <cstring>

#include "memory.h"

namespace orrery::simulated_gpu {

Stream current_stream(c10::Device device) {
  return stream_of_handle(c10::cuda::getCurrentCUDAStream(device.index()).stream(), device.index());
}

namespace {

at::Tensor over(void* memory, const at::Tensor& like) {
  return at::for_blob(memory, like.sizes())
      .strides(like.strides())
      .options(at::TensorOptions().dtype(like.scalar_type()))
      .make_tensor();
}

at::Tensor with_poison(at::Tensor x) {
  if (x.numel() == 0) return x;
  launch(current_stream(x.device()), kPoison,
         [memory = view(x.data_ptr()), n = x.storage().nbytes()] { std::memset(memory, 0xFF, n); });
  return x;
}

c10::Device device_or_current(std::optional<c10::Device> device) {
  if (device && device->has_index()) return *device;
  return {c10::kCUDA, c10::cuda::current_device()};
}

c10::Allocator* allocator() { return c10::cuda::CUDACachingAllocator::get(); }

at::Tensor empty(c10::IntArrayRef sizes, std::optional<c10::ScalarType> type,
                 std::optional<c10::Layout>, std::optional<c10::Device> device,
                 std::optional<bool> is_pinned, std::optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!is_pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::cuda::CUDAGuard guard(device_or_current(device));
  return with_poison(at::detail::empty_generic(sizes, allocator(),
                                               c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                               c10::dtype_or_default(type), format));
}

at::Tensor empty_strided(c10::IntArrayRef sizes, c10::IntArrayRef strides,
                         std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
                         std::optional<c10::Device> device, std::optional<bool>) {
  const c10::cuda::CUDAGuard guard(device_or_current(device));
  return with_poison(at::detail::empty_strided_generic(sizes, strides, allocator(),
                                                       c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                                       c10::dtype_or_default(type)));
}

void count_copy(const at::Tensor& to, const at::Tensor& from, int64_t n_bytes) {
  Counters& now = counters();
  ++(is_on_gpu(to) ? is_on_gpu(from) ? now.copies_on_device : now.copies_to_device
                   : now.copies_to_host);
  (is_on_gpu(to) ? is_on_gpu(from) ? now.bytes_on_device : now.bytes_to_device
                 : now.bytes_to_host) += n_bytes;
}

/// As LibTorch's: between pinned memory and a GPU it can go on while the program does, which may
/// let go of the pinned tensor; other memory of the host is read at once, and waited for where it
/// is written.
at::Tensor& copy(at::Tensor& to, const at::Tensor& source, bool non_blocking) {
  if (to.numel() == 0) return to;
  const at::Tensor from = source.expand_as(to);
  const bool to_gpu = is_on_gpu(to), from_gpu = is_on_gpu(from);
  const c10::Device device = to_gpu ? to.device() : from.device();
  const c10::cuda::CUDAGuard guard(device);
  const Stream stream = current_stream(device);
  count_copy(to, from, to.numel() * static_cast<int64_t>(to.element_size()));
  if (to_gpu && from_gpu) {
    TORCH_CHECK(to.device() == from.device(),
                "a copy from one simulated GPU to another is not simulated");
    launch(stream, "copy", [t = view_for_work(to), f = view_for_work(from)] { t.copy_(f); });
    return to;
  }
  const bool is_asynchronous =
      non_blocking && is_pinned(to_gpu ? source.const_data_ptr() : to.const_data_ptr());
  if (is_capturing(stream) && !is_asynchronous) {
    throw StreamError("a copy of host memory that waits, or is not pinned, inside a capture");
  }
  // The copy's until it is done, also where a wait ended early because work before it failed. A
  // graph keeps nothing: it is launched long after.
  const at::Tensor kept = is_capturing(stream) ? at::Tensor() : to_gpu ? source : to;
  if (to_gpu) {
    const at::Tensor f =
        is_asynchronous ? over(const_cast<void*>(from.const_data_ptr()), from) : from.clone();
    launch(stream, "copy", [t = view_for_work(to), f, kept] { t.copy_(f); });
  } else {
    // Who reads before the copy is done must not find what was there by luck.
    if (is_asynchronous && to.is_contiguous() && !is_capturing(stream)) {
      std::memset(to.mutable_data_ptr(), 0xFF, to.nbytes());
    }
    launch(stream, "copy",
           [t = over(to.mutable_data_ptr(), to), f = view_for_work(from), kept] { t.copy_(f); });
    if (!is_asynchronous) ++counters().host_reads;
  }
  if (!is_asynchronous) synchronize(stream);
  return to;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  at::Tensor result = to;
  return copy(result, from, non_blocking);
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar item(const at::Tensor& x) {
  const c10::cuda::CUDAGuard guard(x.device());
  ++counters().host_reads;
  synchronize(current_stream(x.device()));
  return view_for_work(x).item();
}

at::Tensor as_strided(const at::Tensor& x, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides,
                      std::optional<c10::SymInt> offset) {
  return at::cpu::as_strided_symint(x, sizes, strides, offset);
}

const at::Tensor& resize(const at::Tensor& x, c10::IntArrayRef sizes,
                         std::optional<c10::MemoryFormat>) {
  const auto needed = static_cast<size_t>(c10::multiply_integers(sizes)) * x.element_size();
  if (x.storage().nbytes() < needed) {
    const c10::cuda::CUDAGuard guard(x.device());
    c10::StorageImpl* const storage = x.storage().unsafeGetStorageImpl();
    storage->set_data_ptr(allocator()->allocate(needed));
    storage->set_nbytes(needed);
  }
  x.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return x;
}

at::Tensor& set_to(at::Tensor& x, const at::Tensor& source) {
  return at::native::set_tensor_(x, source);
}

void record_stream(at::Tensor& x, c10::Stream stream) {
  c10::cuda::CUDACachingAllocator::recordStream(x.storage().data_ptr(),
                                                c10::cuda::CUDAStream(stream));
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", as_strided);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("copy_", copy);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", item);
  library.impl("resize_", resize);
  library.impl("set_.source_Tensor", set_to);
  library.impl("record_stream", record_stream);
}

}  // namespace

at::Tensor view_for_work(const at::Tensor& x) {
  void* const memory = x.numel() == 0 ? nullptr : const_cast<void*>(x.const_data_ptr());
  return over(memory == nullptr ? nullptr : view(memory), x);
}

at::Tensor new_tensor(c10::IntArrayRef sizes, c10::IntArrayRef strides, c10::ScalarType type,
                      c10::Device device) {
  return empty_strided(sizes, strides, type, {}, device, {});
}

}  // namespace orrery::simulated_gpu
