#include "orrery/model/gpu_arithmetic.h"

#include <ATen/Context.h>

#include <cstdlib>  // setenv

namespace orrery::model {

void fix_gpu_arithmetic() {
  // cuBLAS gives the same bits again only with workspaces of a fixed size; LibTorch asks for it.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setAllowTF32CuBLAS(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
}

}  // namespace orrery::model
