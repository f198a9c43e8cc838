#include "nvtx_range.h"

#include <nvtx3/nvToolsExt.h>

namespace orrery::metrics {

void push_nvtx_range(const std::string& name) { nvtxRangePushA(name.c_str()); }
void pop_nvtx_range() { nvtxRangePop(); }

}  // namespace orrery::metrics
