// Owner of a C library's handle: closes it once, moves, never copies. A library needs only traits.
#pragma once

#include <utility>

namespace orrery::base {

/// Traits: Raw, none(), close(Raw) noexcept (logs what goes wrong, never throws).
template <class Traits>
class UniqueHandle {
 public:
  using Raw = typename Traits::Raw;

  explicit UniqueHandle(Raw raw = Traits::none()) noexcept : raw_(raw) {}
  UniqueHandle(UniqueHandle&& other) noexcept : raw_(std::exchange(other.raw_, Traits::none())) {}
  UniqueHandle& operator=(UniqueHandle other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~UniqueHandle() {
    if (raw_ != Traits::none()) Traits::close(raw_);
  }

  Raw get() const noexcept { return raw_; }
  /// Gives the handle up without closing it.
  Raw release() noexcept { return std::exchange(raw_, Traits::none()); }
  explicit operator bool() const noexcept { return raw_ != Traits::none(); }

 private:
  Raw raw_;
};

}  // namespace orrery::base
