#!/usr/bin/env bash
# Runs the tests of a build folder and ends with the line `N passed, N failed, N skipped`.
#
#   tools/run_ctest.sh BUILD [CTEST ARGUMENT...]
#
# The counts are single GoogleTest cases; a test under mpirun counts once.
set -uo pipefail
build=${1:?usage: run_ctest.sh BUILD [CTEST ARGUMENT...]}
shift
log=$build/ctest.log

# Tests share cores with ranks that wait; one thread each is what they are written for.
OMP_NUM_THREADS=1 ctest --test-dir "$build" --output-on-failure --no-tests=error -j2 \
  --output-log "$log" --verbose "$@" |
  grep -vE '^[0-9]+: (\[( RUN|       OK|-+|=+|  PASSED) |Note: Google Test filter|Running main|$)'
status=${PIPESTATUS[0]}

count() { grep -cE "$1" "$log" || true; }
passed=$(($(count '^[0-9]+: \[       OK \]') + $(count '^ *[0-9]+/[0-9]+ Test +#[0-9]+: [^ ]+@[0-9]+ \.* +Passed')))
failed=$(($(count '^[0-9]+: \[  FAILED  \] .*\([0-9]+ ms\)') + $(count '^ *[0-9]+/[0-9]+ Test .*\*\*\*(Failed|Timeout|Exception|Not Run)')))
skipped=$(count '^[0-9]+: \[  SKIPPED \] .*\([0-9]+ ms\)')
[ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
