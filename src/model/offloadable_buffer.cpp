#include "orrery/model/offloadable_buffer.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "orrery/base/error.h"
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
  if (pinned_.data() == nullptr) {
    pinned_ = PinnedMemory(buffer_.nbytes(), "what is offloaded from the GPU",
                           "start fewer workers on a node, or set model.X.offload = never for "
                           "some roles");
  }
  if (!copying_) copying_ = gpu.getStreamFromGlobalPool(device);
  order(computing_on(device), *copying_);
  kernels::enqueue_copy_from_gpu(pinned_.data(), buffer_.const_data_ptr(), buffer_.nbytes(),
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
  kernels::enqueue_copy_to_gpu(memory.get(), pinned_.data(), storage().nbytes(),
                               handle_of(*copying_));
  copied_ = order(*copying_, computing);
  storage().set_data_ptr_noswap(std::move(memory));
  is_offloaded_ = false;
}

at::Tensor OffloadableBuffer::where_it_is() const {
  if (!is_offloaded_) return buffer_;
  copied_->synchronize();
  return at::from_blob(pinned_.data(), buffer_.sizes(), buffer_.options().device(at::kCPU));
}

}  // namespace orrery::model
