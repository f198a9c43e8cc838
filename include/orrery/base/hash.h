// Hashes of bytes: fast, fixed for ever (they are written into files), not cryptographic.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orrery::base {

/// XXH64 with seed 0 (xxHash specification).
uint64_t hash64(std::string_view bytes);

/// XXH3 128 bits as 32 lower-case hexadecimal digits, for checksums of files.
std::string hash128_text(std::string_view bytes);

}  // namespace orrery::base
