// Numbers that the host makes or reads on their way into a tensor of a device, a piece at a time.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <array>
#include <cstdint>
#include <optional>

#include "orrery/model/pinned_memory.h"

namespace orrery::model {

/// For a GPU two buffers of pinned memory, each as large as the largest piece so far: one is
/// written while the other is copied. They last as long as this, and until the
/// last copy is done. On the host a piece is written where it belongs, and nothing is copied. One
/// thread.
class StagedUpload {
 public:
  static constexpr int64_t kPieceBytes = int64_t{64} << 20;  // what callers cut large tensors into

  StagedUpload() = default;
  StagedUpload(const StagedUpload&) = delete;
  StagedUpload& operator=(const StagedUpload&) = delete;

  /// Where to write what is to be in `place` (contiguous): of its sizes and type, on the host.
  /// Waits for the copy of the piece before the last one.
  at::Tensor room_for(const at::Tensor& place);

  /// What was written there goes to `place`, of the last room_for(), when the current stream comes
  /// to it.
  void send(const at::Tensor& place);

 private:
  struct Buffer {
    PinnedMemory memory;
    std::optional<c10::Event> copied;  // the last copy from it
  };

  std::array<Buffer, 2> buffers_;
  size_t now_ = 0;
};

}  // namespace orrery::model
