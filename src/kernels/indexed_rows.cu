// Limit: memory bandwidth; a row of scattered ones is long enough to be read as fast as the next. A
// token that is most of a batch makes one long sum: 16k rows of one target are read by one row's
// blocks. Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/indexed_rows.h"

namespace orrery::kernels {

template <class T>
void take_rows_cuda(const TakeRowsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::TakeRowsProgram<T>>(args, stream);
}

template <class T>
void put_rows_cuda(const PutRowsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::PutRowsProgram<T>>(args, stream);
}

template <class T, class G>
void add_rows_cuda(const AddRowsArgs<T, G>& args, cudaStream_t stream) {
  blocks::launch<blocks::AddRowsProgram<T, G>>(args, stream);
}

#define ORRERY_COPY_ROWS(T)                                              \
  template void take_rows_cuda<T>(const TakeRowsArgs<T>&, cudaStream_t); \
  template void put_rows_cuda<T>(const PutRowsArgs<T>&, cudaStream_t);
ORRERY_COPY_ROWS(float)
ORRERY_COPY_ROWS(double)
ORRERY_COPY_ROWS(Bf16)
#undef ORRERY_COPY_ROWS
#define ORRERY_ADD_ROWS(T, G) \
  template void add_rows_cuda<T, G>(const AddRowsArgs<T, G>&, cudaStream_t);
ORRERY_ADD_ROWS_TYPES(ORRERY_ADD_ROWS)
#undef ORRERY_ADD_ROWS

}  // namespace orrery::kernels
