// Limit: memory bandwidth. Forward reads the logits once, backward reads and writes them once; the
// exponential per number is hidden behind that. Nothing was measured: see docs/gpu.md.
#include "blocks/gpu_block.h"
#include "blocks/token_log_probs.h"
#include "orrery/kernels/token_log_probs.h"

namespace orrery::kernels {

template <class T>
void token_log_probs_cuda(const TokenLogProbsArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::TokenLogProbsProgram<T>>(args, stream);
}

template <class T>
void token_log_probs_backward_cuda(const TokenLogProbsBackwardArgs<T>& args, cudaStream_t stream) {
  blocks::launch<blocks::TokenLogProbsBackwardProgram<T>>(args, stream);
}

template void token_log_probs_cuda<float>(const TokenLogProbsArgs<float>&, cudaStream_t);
template void token_log_probs_cuda<double>(const TokenLogProbsArgs<double>&, cudaStream_t);
template void token_log_probs_backward_cuda<float>(const TokenLogProbsBackwardArgs<float>&,
                                                   cudaStream_t);
template void token_log_probs_backward_cuda<double>(const TokenLogProbsBackwardArgs<double>&,
                                                    cudaStream_t);

}  // namespace orrery::kernels
