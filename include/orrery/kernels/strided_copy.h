// Many strided blocks of a flat buffer gathered into one packed buffer, and back: what parameter
// reallocation sends. Element i of the packed buffer is element i of the blocks one after another,
// each row by row. C++17: .cu files include it.
#pragma once

#include <cstdint>

#include "orrery/kernels/bf16.h"
#include "orrery/kernels/gpu.h"  // cudaStream_t

namespace orrery::kernels {

/// `rows` runs of `length` elements, `..._stride` apart.
struct StridedCopy {
  int64_t source_offset = 0;
  int64_t source_stride = 0;
  int64_t destination_offset = 0;
  int64_t destination_stride = 0;
  int64_t rows = 0;
  int64_t length = 0;

  int64_t numel() const { return rows * length; }
  friend bool operator==(const StridedCopy& a, const StridedCopy& b) {
    return a.source_offset == b.source_offset && a.source_stride == b.source_stride &&
           a.destination_offset == b.destination_offset &&
           a.destination_stride == b.destination_stride && a.rows == b.rows && a.length == b.length;
  }
};

/// packed = source blocks, converted. Source and Wire: float, double or Bf16.
template <class Source, class Wire>
struct PackArgs {
  const Source* source = nullptr;
  const StridedCopy* copies = nullptr;  // [n_copies]; what they say of the destination is not used
  const int64_t* first = nullptr;       // [n_copies + 1] sums of numel before: first 0, last all
  int64_t n_copies = 0;
  int64_t numel = 0;       // first[n_copies], so that a launch need not fetch it
  Wire* packed = nullptr;  // [numel], written
};

/// destination blocks = eta * packed + (1 - eta) * destination blocks. Blocks do not overlap.
template <class Wire, class Destination>
struct UnpackArgs {
  const Wire* packed = nullptr;         // [numel]
  const StridedCopy* copies = nullptr;  // [n_copies]; what they say of the source is not used
  const int64_t* first = nullptr;       // as in PackArgs
  int64_t n_copies = 0;
  int64_t numel = 0;
  Destination* destination = nullptr;
  double eta = 1;  // 1: overwritten without being read
};

/// Local; any thread.
template <class Source, class Wire>
void pack(const PackArgs<Source, Wire>& args);
template <class Wire, class Destination>
void unpack(const UnpackArgs<Wire, Destination>& args);

/// The same, bit for bit, with all pointers the GPU's: one launch for all blocks. Asynchronous on
/// `stream`. Throws CallError.
template <class Source, class Wire>
void pack_cuda(const PackArgs<Source, Wire>& args, cudaStream_t stream);
template <class Wire, class Destination>
void unpack_cuda(const UnpackArgs<Wire, Destination>& args, cudaStream_t stream);

/// eta * from + (1 - eta) * to: from the nearer end, so that equal numbers stay what they are.
template <class T>
ORRERY_HOST_DEVICE inline T mixed(T to, T from, T eta) {
  return eta < T(0.5) ? to + eta * (from - to) : from - (from - to) * (T(1) - eta);
}

/// By the type that arithmetic on both is done in: exact wherever To holds what From holds.
template <class From, class To>
ORRERY_HOST_DEVICE inline To converted(From x) {
  return Arithmetic<To>::to(static_cast<typename Arithmetic<To>::Type>(Arithmetic<From>::from(x)));
}

/// Every pair of types that the functions above exist for: ORRERY_STRIDED_TYPES(APPLY).
#define ORRERY_STRIDED_TYPES(APPLY) \
  APPLY(float, float)               \
  APPLY(float, double)              \
  APPLY(float, Bf16)                \
  APPLY(double, float)              \
  APPLY(double, double) APPLY(double, Bf16) APPLY(Bf16, float) APPLY(Bf16, double) APPLY(Bf16, Bf16)

}  // namespace orrery::kernels
