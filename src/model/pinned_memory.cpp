#include "orrery/model/pinned_memory.h"

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/gpu.h"

namespace orrery::model {

PinnedMemory::PinnedMemory(std::size_t size_bytes, const char* purpose, const char* advice)
    : memory_(kernels::allocate_pinned(size_bytes)), size_bytes_(size_bytes) {
  if (memory_ != nullptr) return;
  throw CallError(base::concat("the host has no memory to pin for ", purpose),
                  {.expected = base::bytes_text(static_cast<int64_t>(size_bytes)),
                   .got = "none",
                   .advice = advice});
}

PinnedMemory::~PinnedMemory() {
  if (memory_ != nullptr) kernels::free_pinned(memory_);
}

}  // namespace orrery::model
