#!/usr/bin/env bash
# Builds base and kernels for ARM processors (Grace hosts) and runs their tests in an emulator. What
# only x86 processors have (AMX, AVX) is left out there, and its tests are skipped.
#
# cost: two minutes on 2 cores; needs tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  echo "check_aarch64.sh: $1; no test was run"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}
mkdir -p build
cmake --preset aarch64 >build/configure.log 2>&1 || { cat build/configure.log; give_up "the build cannot be configured"; }
cmake --build build/aarch64 || give_up "the build failed"
# Speed under an emulator says nothing.
exec tools/run_ctest.sh build/aarch64 -LE speed "$@"
