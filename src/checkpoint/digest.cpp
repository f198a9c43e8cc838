#include "digest.h"

#include <cstdio>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace orrery::checkpoint {

struct Digest::State {
  XXH3_state_t xxh3;  // 64-byte aligned by its own declaration
};

Digest::Digest() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh3); }

Digest::~Digest() = default;

void Digest::add(const void* bytes, uint64_t size) {
  if (size > 0) XXH3_64bits_update(&state_->xxh3, bytes, size);
}

uint64_t Digest::value() const { return XXH3_64bits_digest(&state_->xxh3); }

uint64_t digest_of(const void* bytes, uint64_t size) {
  return size == 0 ? XXH3_64bits("", 0) : XXH3_64bits(bytes, size);
}

std::string digest_text(uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(digest));
  return text;
}

}  // namespace orrery::checkpoint
