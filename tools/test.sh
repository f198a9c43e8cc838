#!/usr/bin/env bash
# Sets up, builds and runs all tests. Its last line is `N passed, N failed, N skipped`.
#
#   tools/test.sh [CTEST ARGUMENT...]      example: tools/test.sh -L golden
#
# cost: the first time about a quarter of an hour on 2 cores
# needs: as tools/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  echo "test.sh: $1; no test was run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

tools/setup.sh --tests --no-build || give_up "the setup failed"
echo "test.sh: building the tests"
cmake --preset dev >build/configure.log 2>&1 || { cat build/configure.log; give_up "the build cannot be configured"; }
cmake --build build/dev || give_up "the build failed"
exec tools/run_ctest.sh build/dev "$@"
