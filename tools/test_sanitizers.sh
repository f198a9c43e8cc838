#!/usr/bin/env bash
# Runs the in-process tests under the address and undefined-behaviour sanitizers.
#
#   tools/test_sanitizers.sh [CTEST ARGUMENT...]
#
# cost: about ten minutes on 2 cores; needs tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset asan >build/configure.log || { cat build/configure.log >&2; exit 1; }
cmake --build build/asan
# Leaks of libraries at exit are not ours to find; the allocator of LibTorch is not instrumented.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:alloc_dealloc_mismatch=0
export UBSAN_OPTIONS=print_stacktrace=1
exec tools/run_ctest.sh build/asan -LE 'mpi|speed' "$@"
