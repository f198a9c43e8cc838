// Limit: latency; a row has a hundred numbers, and its block chooses eight times among them.
// Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/route_rows.h"

namespace orrery::kernels {

template <class T>
void route_rows_cuda(const RouteRowsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::RouteRowsProgram<T>>(args, stream);
}

template <class T>
void route_rows_backward_cuda(const RouteRowsBackwardArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::RouteRowsBackwardProgram<T>>(args, stream);
}

#define ORRERY_ROUTE_ROWS(T)                                               \
  template void route_rows_cuda<T>(const RouteRowsArgs<T>&, cudaStream_t); \
  template void route_rows_backward_cuda<T>(const RouteRowsBackwardArgs<T>&, cudaStream_t);
ORRERY_ROUTE_ROWS(float)
ORRERY_ROUTE_ROWS(double)
#undef ORRERY_ROUTE_ROWS

}  // namespace orrery::kernels
