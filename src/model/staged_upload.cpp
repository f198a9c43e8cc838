#include "orrery/model/staged_upload.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "orrery/base/error.h"
#include "orrery/model/cuda_stream.h"

namespace orrery::model {

at::Tensor StagedUpload::room_for(const at::Tensor& place) {
  if (place.is_cpu()) return place;
  now_ = 1 - now_;
  Buffer& buffer = buffers_[now_];
  if (buffer.copied) buffer.copied->synchronize();
  if (buffer.memory.size_bytes() < place.nbytes()) {
    buffer.memory = {};  // first, so that the two are never there together
    buffer.memory =
        PinnedMemory(place.nbytes(), "what is read from files", "start fewer workers on a node");
  }
  return at::from_blob(buffer.memory.data(), place.sizes(), place.options().device(at::kCPU));
}

void StagedUpload::send(const at::Tensor& place) {
  if (place.is_cpu() || place.numel() == 0) return;
  Buffer& buffer = buffers_[now_];
  kernels::enqueue_copy_to_gpu(place.mutable_data_ptr(), buffer.memory.data(), place.nbytes(),
                               stream_of(place));
  const c10::impl::VirtualGuardImpl gpu(place.device().type());
  buffer.copied.emplace(place.device().type()).record(gpu.getStream(place.device()));
}

}  // namespace orrery::model
