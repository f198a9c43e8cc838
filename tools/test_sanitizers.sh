#!/usr/bin/env bash
# Runs the in-process tests under the address, leak and undefined-behaviour sanitizers.
#
#   tools/test_sanitizers.sh [CTEST ARGUMENT...]
#
# cost: about ten minutes on 2 cores; needs tools/setup.sh --tests
# Tests under mpirun are left out: Open MPI's own allocations drown ours. So are those of how well methods learn: they
# run code that others run, for long.
set -euo pipefail
cd "$(dirname "$0")/.."

# LibTorch is not instrumented: it may free with delete what its inlined headers got from malloc.
# Tests of memory that cannot be had ask for more than there is: that is an error to them, no end.
export ASAN_OPTIONS=detect_leaks=1:alloc_dealloc_mismatch=0:allocator_may_return_null=1
export LSAN_OPTIONS=suppressions=$PWD/tools/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
exec tools/build_tests.sh asan -LE 'mpi|speed|learning' "$@"
