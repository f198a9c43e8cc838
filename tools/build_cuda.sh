#!/usr/bin/env bash
# Compiles the communication library with the NCCL backend. Nothing is run: that takes a GPU.
# (The whole program: cmake --preset cuda && cmake --build build/cuda.)
#
# cost: some minutes on 2 cores; needs tools/setup.sh, a CUDA toolkit and NCCL
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
cmake --preset cuda >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build build/cuda --target orrery_comm
