#!/usr/bin/env bash
# Runs the tests of what has threads (groups of ranks, watchdog, background writers, prefetch) under the
# thread sanitizer.
#
#   tools/test_threads.sh [CTEST ARGUMENT...]
#
# cost: five minutes on 2 cores; needs tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."

export TSAN_OPTIONS=suppressions=$PWD/tools/tsan.supp
targets=()
for name in base checkpoint comm data metrics worker_plain; do targets+=(--target "test_$name"); done
exec tools/build_tests.sh tsan "${targets[@]}" \
  -R '^(base|comm|worker_plain)\.|^checkpoint\.background|^data\.dataset|^metrics\.(trace|tensorboard)$' \
  -LE 'mpi|speed' "$@"
