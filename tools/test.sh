#!/usr/bin/env bash
# Sets up, builds and runs all tests. Its last line is `N passed, N failed, N skipped`.
#
#   tools/test.sh [CTEST ARGUMENT...]      example: tools/test.sh -L golden
#
# cost: the first time about a quarter of an hour on 2 cores
# needs: as tools/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh --tests
echo "test.sh: building the tests"
cmake --preset dev >build/configure.log || { cat build/configure.log >&2; exit 1; }
cmake --build build/dev
exec tools/run_ctest.sh build/dev "$@"
