// Limit: three launches for few rows, for many the bandwidth: a row is read twice (its maxima, then
// its weights), the second time from the L2 cache, and nothing as large as it is written. Weights
// cannot be summed while the maximum is looked for: relative to another number they are rounded to
// other bits, and the CPU's tokens come of these. A filter does not read the row again: SegmentSums
// leaves the tokens that it may keep, and one block finds in shared memory what it keeps, four bits
// of a limit a pass: 8 passes for top-k, 8 for top-p (16 of double). It is slow where most of a row
// is left to it: of nearly equal logits, with top-p alone, or with a top_k of more than 16 times
// the number of segments. Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/sample_rows.h"
#include "orrery/kernels/sample_rows.h"

namespace orrery::kernels {

template <class T>
void sample_rows_cuda(const SampleRowsArgs<T>& args, cudaStream_t stream) {
  if (args.n_rows == 0) return;
  if (args.vocab_size < 1 || args.vocab_size > INT32_MAX) {
    throw ShapeError("sampling on the GPU",
                     ErrorDetail{"1 to 2147483647 logits", std::to_string(args.vocab_size), ""});
  }
  blocks::sample_rows(args, blocks::OnStream{stream});
}

template void sample_rows_cuda<float>(const SampleRowsArgs<float>&, cudaStream_t);
template void sample_rows_cuda<double>(const SampleRowsArgs<double>&, cudaStream_t);

}  // namespace orrery::kernels
