// Limit: memory bandwidth; the matrix is read once. Nothing was measured: see docs/gpu.md.
#include "blocks/column_sums.h"
#include "blocks/gpu_block.h"

namespace orrery::kernels {

template <class T>
void add_column_sums_cuda(const ColumnSumsArgs<T>& args, cudaStream_t stream) {
  blocks::add_column_sums(args, blocks::OnStream{stream});
}

template void add_column_sums_cuda<float>(const ColumnSumsArgs<float>&, cudaStream_t);
template void add_column_sums_cuda<double>(const ColumnSumsArgs<double>&, cudaStream_t);
template void add_column_sums_cuda<Bf16>(const ColumnSumsArgs<Bf16>&, cudaStream_t);

}  // namespace orrery::kernels
