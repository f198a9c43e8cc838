// Memory of the host that GPUs copy from and to while nobody waits.
#pragma once

#include <cstddef>
#include <utility>  // exchange

namespace orrery::model {

/// Owns it; without any where it was moved from.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  /// Throws CallError where the host has none to give: `purpose` (`what is offloaded from the GPU`)
  /// and `advice` are of its text.
  PinnedMemory(std::size_t size_bytes, const char* purpose, const char* advice);
  /// Waits for all work of the GPU in use.
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }

  void* data() const { return memory_; }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace orrery::model
