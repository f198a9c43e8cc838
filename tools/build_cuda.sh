#!/usr/bin/env bash
# Builds the program and the GPU tests with CUDA: kernels by nvcc for every architecture, NCCL, and
# LibTorch's CUDA half, all linked. Then runs what runs without a GPU: the program's plan of an
# experiment, the GPU tests, which on such a machine simulate their kernels and say what they
# leave out, and on the simulated GPU (tests/simulated_gpu) the compiled kernels, communication over
# NCCL and this program's work on tensors of GPUs. Its last line is `N passed, N failed, N skipped`.
#
#   tools/build_cuda.sh
#
# cost: some eight minutes on 2 cores, two when tools/test.sh has filled ccache; needs tools/setup.sh
# --tests, a CUDA toolkit and NCCL. Neither a GPU nor LibTorch's CUDA dependencies (4.7 GB).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
# With the flags of the preset `dev`: what is no CUDA is compiled once for both.
cmake --preset cuda -B build/cuda_check -DCMAKE_BUILD_TYPE= -DCMAKE_CXX_FLAGS="-O1 -g1" \
  -DORRERY_WARNINGS_AS_ERRORS=ON >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build build/cuda_check --target orrery test_kernels test_comm test_comm_mpi test_worker \
  test_simulated_gpu test_simulated_torch test_product_on_gpus test_decoder_on_gpus test_counts_on_gpus \
  test_generation_on_gpus test_nccl_operations operator_probe simulated_block_programs nvtx_listener gpu_check_programs \
  wrong_kernel
build/cuda_check/orrery plan configs/grpo_tiny.cfg >build/plan.log 2>&1 ||
  { echo "build_cuda.sh: the program built with CUDA does not run here:"; cat build/plan.log; exit 1; }
echo "build_cuda.sh: the program built with CUDA plans configs/grpo_tiny.cfg"
exec tools/run_ctest.sh build/cuda_check -L gpu
