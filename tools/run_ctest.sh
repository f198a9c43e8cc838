#!/usr/bin/env bash
# Runs the tests of a build folder and ends with the line `N passed, N failed, N skipped`.
#
#   tools/run_ctest.sh BUILD [CTEST ARGUMENT...]
#
# cost: that of the tests; needs a built BUILD and Python 3
# What is counted: tools/count_tests.py. The whole output stays in BUILD/ctest.log.
set -euo pipefail
build=${1:?usage: run_ctest.sh BUILD [CTEST ARGUMENT...]}
shift
log=$build/ctest.log
here=$(cd "$(dirname "$0")" && pwd)

# Tests share cores with ranks that wait; one thread each is what they are written for.
status=0
OMP_NUM_THREADS=1 ctest --test-dir "$build" --no-tests=error -j2 --verbose "$@" 2>&1 |
  tee "$log" |
  { grep -vE '^[0-9]+: (\[( RUN|       OK|-+|=+|  PASSED) |Note: Google Test filter|Running main|Test command|Working Directory|Test timeout|$)|^(test [0-9]+|    Start +[0-9]+|)$|^UpdateCTest' || true; } ||
  status=$?

counts=$(python3 "$here/count_tests.py" "$log") || status=$?
# Never "0 failed" when ctest found something wrong, such as no tests at all.
if [ "$status" -ne 0 ]; then counts=${counts/, 0 failed/, 1 failed}; fi
echo "$counts"
exit "$status"
