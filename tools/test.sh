#!/usr/bin/env bash
# Sets up, builds and runs all tests. Its last line is `N passed, N failed, N skipped`.
#
#   tools/test.sh [CTEST ARGUMENT...]      example: tools/test.sh -L golden
#
# cost: the first time about a quarter of an hour on 2 cores
# needs: as tools/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh --tests --no-build || {
  echo "test.sh: the setup failed; no test was run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}
echo "test.sh: building the tests"
exec tools/build_tests.sh dev "$@"
