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
exec tools/build_tests.sh tsan -R '^(base|comm|worker_plain)\.|^checkpoint\.background|^data\.dataset|^metrics\.(trace|tensorboard)' \
  -LE 'mpi|speed' "$@"
