// Compiled with AVX-512 (src/kernels/CMakeLists.txt); reached only on processors that have it.
#define ORRERY_KERNEL_TARGET avx512
#define ORRERY_VECTOR_BYTES 64
#include "target/fill_table.h"
