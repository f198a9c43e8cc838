// The memory of one flat buffer of a GPU, which may wait in pinned memory of the host while nothing
// computes with it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>

#include "orrery/model/pinned_memory.h"

namespace orrery::model {

/// Copies go on a stream of their own, so neither the host nor what is computed meanwhile waits for
/// them; what is put on the current stream after fetch() does. The pinned memory is kept from the
/// first time on. Of a CPU nothing ever moves. Used by one thread.
class OffloadableBuffer {
 public:
  /// `buffer`: contiguous, with all of its storage; undefined: there is nothing to move.
  explicit OffloadableBuffer(at::Tensor buffer = {});

  /// On the GPU. Its views follow it; while it is offloaded nobody may use them.
  const at::Tensor& tensor() const { return buffer_; }
  bool is_offloaded() const { return is_offloaded_; }
  /// Where the numbers are: the buffer, or pinned memory once they have arrived there, for which
  /// this waits. Undefined if the buffer is.
  at::Tensor where_it_is() const;

  /// Copies to the host, behind all that the current stream has to do by now, and gives the memory
  /// back to the GPU's allocator, who gives it to others when the copy is done. Does nothing where
  /// that was done. Throws CallError where the host has no memory to pin: all is as before then.
  void offload();

  /// Takes memory of the GPU and copies back. Does nothing where offload() was not called. Throws
  /// c10::OutOfMemoryError: the numbers stay on the host then.
  void fetch();

 private:
  c10::StorageImpl& storage() const { return *buffer_.storage().unsafeGetStorageImpl(); }

  at::Tensor buffer_;
  bool is_offloaded_ = false;
  PinnedMemory pinned_;                 // none until the first time
  std::optional<c10::Stream> copying_;  // likewise
  std::optional<c10::Event> copied_;    // the last copy
};

}  // namespace orrery::model
