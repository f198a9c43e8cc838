#include "orrery/kernels/split_gemm.h"

#if defined(ORRERY_KERNELS_X86)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "amx_gemm.h"

namespace orrery::kernels {

#if defined(ORRERY_KERNELS_X86)

bool has_split_gemm() {
  static const bool has = [] {
    if (!__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16") ||
        !__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw")) {
      return false;
    }
    // The state of the tiles is large: a process has to ask before its first use.
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return has;
}

void split_gemm(const SplitGemmArgs& args) { amx::gemm(args); }

#else

bool has_split_gemm() { return false; }
void split_gemm(const SplitGemmArgs&) {}

#endif

}  // namespace orrery::kernels
