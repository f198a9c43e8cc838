// Compiled with AVX2 and FMA (src/kernels/CMakeLists.txt); reached only on processors that have
// them.
#define ORRERY_KERNEL_TARGET avx2
#include "target/fill_table.h"
