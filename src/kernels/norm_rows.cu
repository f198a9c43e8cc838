// Limit: memory bandwidth. Forward reads x (and what is added) once and writes y (and the sum),
// backward reads x and dy and writes dx; sums over rows stay in the L2 cache. Nothing was measured:
// see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/norm_rows.h"

namespace orrery::kernels {

template <class T>
void norm_rows_cuda(const NormRowsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::NormRowsProgram<T>>(args, stream);
}

template <class T>
void norm_rows_backward_cuda(const NormRowsBackwardArgs<T>& args, cudaStream_t stream) {
  blocks::norm_rows_backward(args, blocks::OnStream{stream});
}

#define ORRERY_NORM_ROWS(T)                                              \
  template void norm_rows_cuda<T>(const NormRowsArgs<T>&, cudaStream_t); \
  template void norm_rows_backward_cuda<T>(const NormRowsBackwardArgs<T>&, cudaStream_t);
ORRERY_NORM_ROWS(float)
ORRERY_NORM_ROWS(double)
ORRERY_NORM_ROWS(Bf16)
#undef ORRERY_NORM_ROWS

}  // namespace orrery::kernels
