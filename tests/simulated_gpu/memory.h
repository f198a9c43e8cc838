// Memory of the simulated GPUs, which the host cannot touch. Each device is a file in memory that
// is mapped twice: programs see the first mapping, without any access, so whatever the host reads
// or writes there faults; work on a stream uses the second one (view), or has the first opened
// while it runs (Opened). A block ends where its pages end, no address is ever used again, and
// fresh memory is NaN: reading beyond a block, or after it was freed, or before it was written, is
// seen and not luck. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace orrery::simulated_gpu {

/// Environment SIMULATED_GPUS, 0 to 16; 1 if it is not set.
int n_devices();
/// Environment SIMULATED_GPU_BYTES; 16 GiB if it is not set.
std::size_t memory_of_device();

struct Block {
  int device = 0;
  char* begin = nullptr;
  std::size_t size_bytes = 0;
};

/// Begins at a multiple of 256 bytes, filled with 0xFF (a NaN in every format). Throws
/// std::bad_alloc when the device has no room. `size_bytes` is above 0.
void* allocate(int device, std::size_t size_bytes);
/// Aborts the program, with a line, for an address that no live block begins at.
void release(void* begin);

bool is_on_device(const void* address);
/// The live block around an address.
std::optional<Block> block_at(const void* address);
/// Bytes from an address of a device to the end of its live block; 0: there is none.
std::size_t room_at(const void* address);
std::size_t bytes_in_use(int device);

/// The address under which work on a stream may use what programs see at `address`; those of the
/// host stay what they are.
void* view(const void* address);
template <class T>
T* view(T* address) {
  return static_cast<T*>(view(static_cast<const void*>(address)));
}

/// While it lives, the addresses that programs see of one device's live blocks can be used: for
/// kernels, whose arguments hold them. One at a time.
class Opened {
 public:
  explicit Opened(int device);
  ~Opened();
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  int device_;
};

/// Host memory that copies may use while the program goes on; filled with 0xFF.
void* allocate_pinned(std::size_t size_bytes);
void release_pinned(void* begin);
bool is_pinned(const void* address);
/// Of this process, now and at their height since the last forget_most_pinned().
std::size_t pinned_bytes();
std::size_t most_pinned_bytes();
void forget_most_pinned();

}  // namespace orrery::simulated_gpu
