// Offers every block program of src/kernels/blocks to the simulated runtime. A library of its own,
// to be loaded with a program whose kernels nvcc compiled.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "blocks/decode_attention.h"
#include "blocks/gae.h"
#include "blocks/sample_rows.h"
#include "blocks/simulated_block.h"
#include "blocks/strided_copy.h"
#include "blocks/token_log_probs.h"
#include "kernels.h"
#include "memory.h"

namespace orrery::kernels::blocks {

/// A kernel of the name that gpu_block.h gives it, so that the compiler mangles it the same.
template <class Program>
void run_program(typename Program::Args) {}

}  // namespace orrery::kernels::blocks

namespace orrery::simulated_gpu {
namespace {

namespace blocks = kernels::blocks;

template <class Program>
void offer() {
  Dl_info info = {};
  const auto kernel = &blocks::run_program<Program>;
  if (::dladdr(reinterpret_cast<const void*>(kernel), &info) == 0 || info.dli_sname == nullptr) {
    std::fprintf(stderr, "simulated GPU: a kernel without a symbol\n");
    std::abort();
  }
  offer_kernel(info.dli_sname, [name = std::string(info.dli_sname)](const Launch& launched) {
    const auto arguments = *static_cast<const typename Program::Args*>(launched.arguments);
    if (Program::n_blocks(arguments) != launched.n_blocks ||
        static_cast<unsigned>(Program::kThreads) != launched.n_threads) {
      return false;
    }
    launch(launched.stream, name, [arguments, device = device_of(launched.stream)] {
      const Opened opened(device);  // the arguments hold addresses as programs see them
      // A result that depends on the order of threads lacks a barrier.
      blocks::simulate<Program>(arguments, blocks::ThreadOrder::kBackward);
    });
    return true;
  });
}

const bool all_offered = [] {
  using kernels::Bf16;
  offer<blocks::GaeProgram<float>>();
  offer<blocks::GaeProgram<double>>();
  offer<blocks::PagedAttentionProgram<float>>();
  offer<blocks::PagedAttentionProgram<Bf16>>();
  offer<blocks::JoinSplitsProgram<float>>();
  offer<blocks::JoinSplitsProgram<Bf16>>();
  offer<blocks::SampleRowsProgram<float>>();
  offer<blocks::SampleRowsProgram<double>>();
  offer<blocks::TokenLogProbsProgram<float>>();
  offer<blocks::TokenLogProbsProgram<double>>();
  offer<blocks::TokenLogProbsBackwardProgram<float>>();
  offer<blocks::TokenLogProbsBackwardProgram<double>>();
#define ORRERY_OFFER(From, To)            \
  offer<blocks::PackProgram<From, To>>(); \
  offer<blocks::UnpackProgram<From, To>>();
  ORRERY_STRIDED_TYPES(ORRERY_OFFER)
#undef ORRERY_OFFER
  return true;
}();

}  // namespace
}  // namespace orrery::simulated_gpu
