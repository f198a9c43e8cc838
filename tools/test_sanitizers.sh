#!/usr/bin/env bash
# Runs the in-process tests under the address, leak and undefined-behaviour sanitizers.
#
#   tools/test_sanitizers.sh [CTEST ARGUMENT...]
#
#   ORRERY_FULL=1   also every layout of the proofs, fifteen times as many mutated files, and how well methods learn
#
# cost: a quarter of an hour on 2 cores, 40 minutes with ORRERY_FULL=1; needs tools/setup.sh --tests
# Left out: tests under mpirun, where Open MPI's own allocations drown ours, and those of tools that run no
# program of ours.
set -euo pipefail
cd "$(dirname "$0")/.."

# LibTorch is not instrumented: it may free with delete what its inlined headers got from malloc.
# Tests of memory that cannot be had ask for more than there is: that is an error to them, no end.
export ASAN_OPTIONS=detect_leaks=1:alloc_dealloc_mismatch=0:allocator_may_return_null=1
export LSAN_OPTIONS=suppressions=$PWD/tools/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1

folders=(algorithm base checkpoint cli comm config data graph kernels master metrics model parallel report worker)
targets=(--target orrery --target test_worker_plain --target test_metrics_beside_torch
         --target write_scalar_events)
for folder in "${folders[@]}"; do targets+=(--target "test_$folder"); done
left_out='mpi|speed' long=()
if [ -z "${ORRERY_FULL:-}" ]; then
  left_out+='|learning'
  # The engines and the generator that the proofs run in every layout have tests of their own, and those stay.
  long=(-E '^parallel\.(generation|layout)_proof$')
  export ORRERY_MUTATIONS=${ORRERY_MUTATIONS:-8000}
fi
only=$(IFS='|' && echo "${folders[*]}")
exec tools/build_tests.sh asan "${targets[@]}" -R "^($only|worker_plain|metrics_beside_torch)\\.|^tools\.(check_export|make_word_problems|prepare_data_files)$" -LE "$left_out" "${long[@]}" "$@"
