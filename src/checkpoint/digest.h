// XXH3 over bytes that come in pieces, and its text. Fixed for ever: it is written into files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace orrery::checkpoint {

class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(const void* bytes, uint64_t size);
  /// XXH3 64 bits, seed 0, of all pieces so far.
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// XXH3 64 bits, seed 0.
uint64_t digest_of(const void* bytes, uint64_t size);

/// 16 lower-case hexadecimal digits.
std::string digest_text(uint64_t digest);

}  // namespace orrery::checkpoint
