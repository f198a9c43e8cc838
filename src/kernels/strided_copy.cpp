#include "orrery/kernels/strided_copy.h"

#include <algorithm>    // min
#include <cstring>      // memcpy
#include <type_traits>  // is_same

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace orrery::kernels {

namespace {

/// Blocks of at least so many bytes are written past the caches: they do not fit there anyway with
/// the rest of a shard, and memory need not be read before it is overwritten.
constexpr int64_t kStreamedBytes = int64_t{128} << 10;

#if defined(__SSE2__)
/// memcpy with stores that leave the caches alone, in lines of 64 bytes; end with _mm_sfence().
void stream_run(char* to, const char* from, size_t bytes) {
  constexpr size_t kLine = 64;
  const size_t to_line = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
  const size_t head = std::min(bytes, to_line);
  std::memcpy(to, from, head);
  size_t i = head;
  for (; i + kLine <= bytes; i += kLine) {
    const auto* line = reinterpret_cast<const __m128i*>(from + i);
    auto* out = reinterpret_cast<__m128i*>(to + i);
    const __m128i a = _mm_loadu_si128(line), b = _mm_loadu_si128(line + 1);
    const __m128i c = _mm_loadu_si128(line + 2), d = _mm_loadu_si128(line + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  std::memcpy(to + i, from + i, bytes - i);
}
#endif

/// The rows of a block from a packed buffer to where they belong.
template <class T>
void copy_rows(const StridedCopy& copy, const T* from, T* to) {
  const auto bytes = static_cast<size_t>(copy.length) * sizeof(T);
#if defined(__SSE2__)
  if (copy.rows > 1 && copy.numel() * static_cast<int64_t>(sizeof(T)) >= kStreamedBytes) {
    for (int64_t row = 0; row < copy.rows; ++row) {
      stream_run(reinterpret_cast<char*>(to + row * copy.destination_stride),
                 reinterpret_cast<const char*>(from + row * copy.length), bytes);
    }
    _mm_sfence();
    return;
  }
#endif
  for (int64_t row = 0; row < copy.rows; ++row) {
    std::memcpy(to + row * copy.destination_stride, from + row * copy.length, bytes);
  }
}

}  // namespace

template <class Source, class Wire>
void pack(const PackArgs<Source, Wire>& args) {
  for (int64_t c = 0; c < args.n_copies; ++c) {
    const StridedCopy& copy = args.copies[c];
    if (copy.length == 0) continue;  // its pointers may be null
    for (int64_t row = 0; row < copy.rows; ++row) {
      const Source* from = args.source + copy.source_offset + row * copy.source_stride;
      Wire* to = args.packed + args.first[c] + row * copy.length;
      if constexpr (std::is_same_v<Source, Wire>) {
        std::memcpy(to, from, static_cast<size_t>(copy.length) * sizeof(Wire));
      } else {
        for (int64_t i = 0; i < copy.length; ++i) to[i] = converted<Source, Wire>(from[i]);
      }
    }
  }
}

template <class Wire, class Destination>
void unpack(const UnpackArgs<Wire, Destination>& args) {
  using A = Arithmetic<Destination>;
  const auto eta = static_cast<typename A::Type>(args.eta);
  for (int64_t c = 0; c < args.n_copies; ++c) {
    const StridedCopy& copy = args.copies[c];
    if (copy.length == 0) continue;  // its pointers may be null
    if constexpr (std::is_same_v<Wire, Destination>) {
      if (args.eta == 1) {
        copy_rows(copy, args.packed + args.first[c], args.destination + copy.destination_offset);
        continue;
      }
    }
    for (int64_t row = 0; row < copy.rows; ++row) {
      const Wire* from = args.packed + args.first[c] + row * copy.length;
      Destination* to = args.destination + copy.destination_offset + row * copy.destination_stride;
      if (args.eta != 1) {
        for (int64_t i = 0; i < copy.length; ++i) {
          const Destination wanted = converted<Wire, Destination>(from[i]);
          to[i] = A::to(mixed(A::from(to[i]), A::from(wanted), eta));
        }
      } else {
        for (int64_t i = 0; i < copy.length; ++i) to[i] = converted<Wire, Destination>(from[i]);
      }
    }
  }
}

#define ORRERY_INSTANTIATE(From, To)                       \
  template void pack<From, To>(const PackArgs<From, To>&); \
  template void unpack<From, To>(const UnpackArgs<From, To>&);
ORRERY_STRIDED_TYPES(ORRERY_INSTANTIATE)

}  // namespace orrery::kernels
