// The same kernels for any processor of the architecture.
#define ORRERY_KERNEL_TARGET baseline
#include "target/fill_table.h"
