// Large blocks of memory that are read from end to end: packed weights, the pages of a KV cache. In
// pages of 2 MiB where the system has them (4 KiB ones cost up to a third of the memory's rate in
// look-ups of addresses, and a fault each when they are first written).
#pragma once

#include <cstddef>
#include <utility>

namespace orrery::base {

class LargeMemory {
 public:
  LargeMemory() = default;
  /// Zeros, aligned to 64 bytes at least. Memory that is never touched costs nothing.
  /// Throws std::bad_alloc when the system does not give it.
  explicit LargeMemory(size_t size_bytes);
  LargeMemory(LargeMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  LargeMemory& operator=(LargeMemory other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~LargeMemory();

  void* data() const { return data_; }
  size_t size_bytes() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace orrery::base
