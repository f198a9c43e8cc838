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

#define ORRERY_TOKEN_LOG_PROBS(T)                                                   \
  template void token_log_probs_cuda<T>(const TokenLogProbsArgs<T>&, cudaStream_t); \
  template void token_log_probs_backward_cuda<T>(const TokenLogProbsBackwardArgs<T>&, cudaStream_t);
ORRERY_TOKEN_LOG_PROBS(float)
ORRERY_TOKEN_LOG_PROBS(double)
ORRERY_TOKEN_LOG_PROBS(Bf16)
#undef ORRERY_TOKEN_LOG_PROBS

}  // namespace orrery::kernels
