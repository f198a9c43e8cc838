// Offers every block program of src/kernels/blocks to the simulated runtime. A library of its own,
// to be loaded with a program whose kernels nvcc compiled.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "blocks/activation.h"
#include "blocks/adamw.h"
#include "blocks/column_sums.h"
#include "blocks/decode_attention.h"
#include "blocks/decode_slots.h"
#include "blocks/gae.h"
#include "blocks/indexed_rows.h"
#include "blocks/norm_rows.h"
#include "blocks/rotate_heads.h"
#include "blocks/route_rows.h"
#include "blocks/sample_rows.h"
#include "blocks/simulated_block.h"
#include "blocks/strided_copy.h"
#include "blocks/token_log_probs.h"
#include "blocks/varlen_attention.h"
#include "blocks/write_pages.h"
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

template <class T>
void offer_of_each_type() {
  offer<blocks::ActivateProgram<T>>();
  offer<blocks::ActivateBackwardProgram<T>>();
  offer<blocks::AttentionKeyGradientProgram<T>>();
  offer<blocks::AttentionQueryGradientProgram<T>>();
  offer<blocks::ColumnSumsProgram<T>>();
  offer<blocks::NormRowsProgram<T>>();
  offer<blocks::NormRowsBackwardProgram<T>>();
  offer<blocks::PagedAttentionProgram<T, blocks::kFewHeads>>();
  offer<blocks::PagedAttentionProgram<T, blocks::kMostHeads<T>>>();
  offer<blocks::PutRowsProgram<T>>();
  offer<blocks::RotateHeadsProgram<T>>();
  offer<blocks::RotateHeadsBackwardProgram<T>>();
  offer<blocks::TakeRowsProgram<T>>();
  offer<blocks::TokenLogProbsProgram<T>>();
  offer<blocks::TokenLogProbsBackwardProgram<T>>();
  offer<blocks::VarlenAttentionProgram<T>>();
  offer<blocks::WritePagesProgram<T>>();
}

template <class T>
void offer_of_each_real() {
  offer<blocks::DrawTokensProgram<T>>();
  offer<blocks::GaeProgram<T>>();
  offer<blocks::JoinChunksProgram<T>>();
  offer<blocks::RouteRowsProgram<T>>();
  offer<blocks::RouteRowsBackwardProgram<T>>();
  offer<blocks::SegmentMaximaProgram<T>>();
  offer<blocks::SegmentSumsProgram<T>>();
}

const bool all_offered = [] {
  using kernels::Bf16;
  offer<blocks::ChangeSlotsProgram>();
  offer<blocks::BeginStepProgram>();
  offer<blocks::EndStepProgram>();
  offer_of_each_real<float>();
  offer_of_each_real<double>();
#define ORRERY_OFFER(T, G, M) offer<blocks::AdamWProgram<T, G, M>>();
  ORRERY_ADAMW_TYPES(ORRERY_OFFER)
#undef ORRERY_OFFER
  offer_of_each_type<float>();
  offer_of_each_type<double>();
  offer_of_each_type<Bf16>();
  offer<blocks::TensorAttentionProgram<1>>();
  offer<blocks::TensorAttentionProgram<2>>();
  offer<blocks::TensorAttentionProgram<4>>();
#define ORRERY_OFFER(T, G) offer<blocks::AddRowsProgram<T, G>>();
  ORRERY_ADD_ROWS_TYPES(ORRERY_OFFER)
#undef ORRERY_OFFER
#define ORRERY_OFFER(From, To)            \
  offer<blocks::PackProgram<From, To>>(); \
  offer<blocks::UnpackProgram<From, To>>();
  ORRERY_STRIDED_TYPES(ORRERY_OFFER)
#undef ORRERY_OFFER
  return true;
}();

}  // namespace
}  // namespace orrery::simulated_gpu
