#include "orrery/kernels/strided_copy.h"

#include <cstring>      // memcpy
#include <type_traits>  // is_same

namespace orrery::kernels {

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
    for (int64_t row = 0; row < copy.rows; ++row) {
      const Wire* from = args.packed + args.first[c] + row * copy.length;
      Destination* to = args.destination + copy.destination_offset + row * copy.destination_stride;
      if (args.eta != 1) {
        for (int64_t i = 0; i < copy.length; ++i) {
          const Destination wanted = converted<Wire, Destination>(from[i]);
          to[i] = A::to(mixed(A::from(to[i]), A::from(wanted), eta));
        }
      } else if constexpr (std::is_same_v<Wire, Destination>) {
        std::memcpy(to, from, static_cast<size_t>(copy.length) * sizeof(Wire));
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
