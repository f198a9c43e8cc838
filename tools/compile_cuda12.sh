#!/usr/bin/env bash
# Compiles src/kernels/*.cu for CUDA 12, host and device half, for compute capability 8.0 and 9.0: with the headers,
# device library and assembler of NVIDIA's PyPI wheels, by clang. nvcc itself is in none of the wheels of CUDA 12.
# tools/build_cuda.sh compiles the same files by the nvcc that is there. Nothing is linked.
#
#   tools/compile_cuda12.sh
#
# cost: half a minute on 2 cores, the first time also 30 MB of downloads; needs clang-19 (tools/setup.sh --tests)
set -euo pipefail
cd "$(dirname "$0")/.."

# 12.4 is the newest that clang 19 knows.
toolkit=build/cuda12_wheels/toolkit
if [ ! -f "$toolkit/complete" ]; then
  rm -rf build/cuda12_wheels && mkdir -p "$toolkit"
  flags=(--quiet --no-compile --no-deps --target build/cuda12_wheels/parts)
  python3 -m pip install --help | grep -q break-system-packages && flags+=(--break-system-packages)
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install "${flags[@]}" \
    'nvidia-cuda-nvcc-cu12==12.4.131' 'nvidia-cuda-runtime-cu12==12.4.127'
  # A wheel is a folder for each part; compilers want one tree.
  for part in build/cuda12_wheels/parts/nvidia/cuda_*; do cp -r "$part/." "$toolkit"; done
  chmod +x "$toolkit"/bin/*
  touch "$toolkit/complete"
fi

out=build/cuda12_objects
rm -rf "$out" && mkdir -p "$out"
compile() { # toolkit, out, file, half, architecture
  clang++-19 -x cuda --cuda-path="$1" -Wno-unknown-cuda-version -std=c++17 -O3 -Wall -Werror -Iinclude \
    -Isrc/kernels "--cuda-$4-only" "--cuda-gpu-arch=sm_$5" -c "$3" -o "$2/$(basename "$3" .cu).$4.sm_$5.o"
}
export -f compile
for file in src/kernels/*.cu; do
  printf '%s\n' "$file host 80" "$file device 80" "$file device 90"
done | xargs -P "$(nproc)" -I{} bash -c "compile $toolkit $out {}"
files=(src/kernels/*.cu)
echo "compile_cuda12.sh: ${#files[@]} files compile for CUDA 12"
