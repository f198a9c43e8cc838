#include "orrery/base/large_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>  // bad_alloc

namespace orrery::base {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

LargeMemory::LargeMemory(size_t size_bytes) {
  if (size_bytes == 0) return;
  // A little more than asked for, so that a block aligned to large pages lies within.
  const bool is_large = size_bytes >= kLargePage;
  const size_t wanted = is_large ? round_up(size_bytes, kLargePage) : round_up(size_bytes, 4096);
  if (wanted < size_bytes) throw std::bad_alloc();
  const size_t mapped = is_large ? wanted + kLargePage : wanted;
  void* const raw =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  data_ = raw;
  size_ = wanted;
  if (!is_large) return;
  const auto begin = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = round_up(begin, kLargePage);
  if (aligned > begin) munmap(raw, aligned - begin);
  const uintptr_t end = begin + mapped;
  if (end > aligned + wanted) {
    munmap(reinterpret_cast<void*>(aligned + wanted), end - aligned - wanted);
  }
  data_ = reinterpret_cast<void*>(aligned);
  madvise(data_, size_, MADV_HUGEPAGE);  // a wish: without it everything works, slower
}

LargeMemory::~LargeMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace orrery::base
