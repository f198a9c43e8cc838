#!/usr/bin/env bash
# Builds base and kernels for ARM processors (Grace hosts) and runs their tests in an emulator. What
# only x86 processors have (AMX, AVX) is left out there, and its tests are skipped.
#
# cost: two minutes on 2 cores; needs tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."

# Speed under an emulator says nothing.
exec tools/build_tests.sh aarch64 -LE speed "$@"
