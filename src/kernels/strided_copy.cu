// Limit: memory bandwidth, each element read once and written once, when rows are long. Rows
// shorter than 32 bytes waste part of every memory transaction, and a 64-bit division per element
// is then what a thread waits for. Compiled without contraction of multiply and add, so that mixing
// gives the CPU's bits. Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/strided_copy.h"
#include "orrery/kernels/strided_copy.h"

namespace orrery::kernels {

template <class Source, class Wire>
void pack_cuda(const PackArgs<Source, Wire>& args, cudaStream_t stream) {
  blocks::launch<blocks::PackProgram<Source, Wire>>(args, stream);
}

template <class Wire, class Destination>
void unpack_cuda(const UnpackArgs<Wire, Destination>& args, cudaStream_t stream) {
  blocks::launch<blocks::UnpackProgram<Wire, Destination>>(args, stream);
}

#define ORRERY_INSTANTIATE(From, To)                                          \
  template void pack_cuda<From, To>(const PackArgs<From, To>&, cudaStream_t); \
  template void unpack_cuda<From, To>(const UnpackArgs<From, To>&, cudaStream_t);
ORRERY_STRIDED_TYPES(ORRERY_INSTANTIATE)

}  // namespace orrery::kernels
