#include "nvtx_range.h"

#include <nvtx3/nvToolsExt.h>

namespace orrery::metrics {

void push_nvtx_range(const std::string& name) { nvtxRangePushA(name.c_str()); }
void pop_nvtx_range() { nvtxRangePop(); }

bool is_nvtx_heard() {
  // NVTX has no question for it: the function that a profiler puts in is what a push would call.
  static const bool is_heard = [] {
    nvtxInitialize(nullptr);
    return NVTX_VERSIONED_IDENTIFIER(nvtxGlobals).nvtxRangePushA_impl_fnptr != nullptr;
  }();
  return is_heard;
}

}  // namespace orrery::metrics
