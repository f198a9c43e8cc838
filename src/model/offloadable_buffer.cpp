#include "orrery/model/offloadable_buffer.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/gpu.h"

namespace orrery::model {

namespace {

c10::Stream computing_on(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

/// What is put on `later` from here on runs after all that is on `earlier`. The event between them.
c10::Event order(const c10::Stream& earlier, const c10::Stream& later) {
  c10::Event passed(earlier.device_type());
  passed.record(earlier);
  passed.block(later);
  return passed;
}

cudaStream_t handle_of(const c10::Stream& stream) {
  return static_cast<cudaStream_t>(stream.native_handle());
}

}  // namespace

OffloadableBuffer::Pinned::Pinned(size_t size_bytes)
    : memory(kernels::allocate_pinned(size_bytes)) {
  if (memory != nullptr) return;
  throw CallError("the host has no memory to pin for what is offloaded from the GPU",
                  {.expected = base::bytes_text(static_cast<int64_t>(size_bytes)),
                   .got = "none",
                   .advice = "start fewer workers on a node, or set model.X.offload = never for "
                             "some roles"});
}

OffloadableBuffer::Pinned::~Pinned() { kernels::free_pinned(memory); }

OffloadableBuffer::OffloadableBuffer(at::Tensor buffer) : buffer_(std::move(buffer)) {
  if (!buffer_.defined()) return;
  ORRERY_ASSERT(buffer_.is_contiguous() && buffer_.nbytes() == buffer_.storage().nbytes(),
                "all of a storage");
}

void OffloadableBuffer::offload() {
  if (is_offloaded_ || !buffer_.defined() || buffer_.is_cpu() || buffer_.numel() == 0) return;
  const c10::Device device = buffer_.device();
  const c10::DeviceGuard guard(device);
  const c10::impl::VirtualGuardImpl gpu(device.type());
  if (!pinned_) pinned_ = std::make_unique<Pinned>(buffer_.nbytes());
  if (!copying_) copying_ = gpu.getStreamFromGlobalPool(device);
  order(computing_on(device), *copying_);
  kernels::enqueue_copy_from_gpu(pinned_->memory, buffer_.const_data_ptr(), buffer_.nbytes(),
                                 handle_of(*copying_));
  copied_.emplace(device.type()).record(*copying_);
  gpu.recordDataPtrOnStream(storage().data_ptr(), *copying_);
  storage().set_data_ptr_noswap(c10::DataPtr(nullptr, device));
  is_offloaded_ = true;
}

void OffloadableBuffer::fetch() {
  if (!is_offloaded_) return;
  const c10::Device device = buffer_.device();
  const c10::DeviceGuard guard(device);
  c10::DataPtr memory = storage().allocator()->allocate(storage().nbytes());
  const c10::Stream computing = computing_on(device);
  order(computing, *copying_);  // which may still be using what this memory was before
  kernels::enqueue_copy_to_gpu(memory.get(), pinned_->memory, storage().nbytes(),
                               handle_of(*copying_));
  copied_ = order(*copying_, computing);
  storage().set_data_ptr_noswap(std::move(memory));
  is_offloaded_ = false;
}

at::Tensor OffloadableBuffer::where_it_is() const {
  if (!is_offloaded_) return buffer_;
  copied_->synchronize();
  return at::from_blob(pinned_->memory, buffer_.sizes(), buffer_.options().device(at::kCPU));
}

}  // namespace orrery::model
