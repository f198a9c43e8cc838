#!/usr/bin/env bash
# Builds the tests of a preset and runs them. Its last line is `N passed, N failed, N skipped`, also where
# nothing could be built.
#
#   tools/build_tests.sh PRESET [--target NAME]... [CTEST ARGUMENT...]
#                                                        example: tools/build_tests.sh dev -L golden
#
# cost: that of the build and the tests; needs tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?usage: build_tests.sh PRESET [--target NAME]... [CTEST ARGUMENT...]}
shift
targets=()
while [ "${1:-}" = --target ]; do
  targets+=(--target "${2:?build_tests.sh: --target wants a name}")
  shift 2
done

give_up() {
  echo "build_tests.sh $preset: $1; no test was run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}
mkdir -p build
cmake --preset "$preset" >build/configure.log 2>&1 || { cat build/configure.log; give_up "the build cannot be configured"; }
cmake --build "build/$preset" "${targets[@]}" || give_up "the build failed"
exec tools/run_ctest.sh "build/$preset" "$@"
