#include "orrery/kernels/split_product.h"

#if defined(ORRERY_KERNELS_X86)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "amx_product.h"

namespace orrery::kernels {

#if defined(ORRERY_KERNELS_X86)

bool has_split_product() {
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

void split_product(const SplitProductArgs& args) { amx::product(args); }

#else

bool has_split_product() { return false; }
void split_product(const SplitProductArgs&) {}

#endif

}  // namespace orrery::kernels
