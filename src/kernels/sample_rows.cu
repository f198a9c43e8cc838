// Limit: passes over a row that lies in the L2 cache (600 kB for 150,000 logits of float): three
// for a plain draw, 32 more for top-k and 34 more for top-p (64 and 66 of double), each ending in a
// tree of eight barriers. With fewer rows than multiprocessors most of the GPU is idle. A histogram
// of eight bits a pass would need four passes instead of 32; its sums would depend on the order of
// atomics. Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/sample_rows.h"
#include "orrery/kernels/sample_rows.h"

namespace orrery::kernels {

template <class T>
void sample_rows_cuda(const SampleRowsArgs<T>& args, cudaStream_t stream) {
  if (args.n_rows > 0 && args.vocab_size < 1) {
    throw ShapeError("sampling on the GPU",
                     ErrorDetail{"at least one logit", std::to_string(args.vocab_size), ""});
  }
  blocks::launch<blocks::SampleRowsProgram<T>>(args, stream);
}

template void sample_rows_cuda<float>(const SampleRowsArgs<float>&, cudaStream_t);
template void sample_rows_cuda<double>(const SampleRowsArgs<double>&, cudaStream_t);

}  // namespace orrery::kernels
