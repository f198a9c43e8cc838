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

run() { # ctest arguments: appends to the log, prints what is worth a line
  # Tests share cores with ranks that wait; one thread each is what they are written for.
  OMP_NUM_THREADS=1 ctest --test-dir "$build" --no-tests=error --verbose "$@" 2>&1 |
    tee -a "$log" |
    { grep -vE '^[0-9]+: (\[( RUN|       OK|-+|=+|  PASSED) |Note: Google Test filter|Running main|Test command|Working Directory|Test timeout|$)|^(test [0-9]+|    Start +[0-9]+|)$|^UpdateCTest' || true; }
}
: >"$log"
status=0
run -j2 "$@" || status=$?
# Tests of several processes have deadlines and moments, which a machine with other work may miss: those that
# failed are run once more, alone, and named even where they pass then. 8: tests failed, and nothing else.
if [ "$status" -eq 8 ]; then
  names=$(cut -d: -f2 "$build/Testing/Temporary/LastTestsFailed.log" | paste -sd'|')
  run -L '^(mpi|fault|slurm|tools)$' -R "^($names)\$" || true
fi

counted=0
counts=$(python3 "$here/count_tests.py" "$log") || counted=$?
if [ "$status" -eq 8 ] && grep -q '^passed only at the second try: ' <<<"$counts"; then status=0; fi
[ "$counted" -eq 0 ] || status=$counted
# Never "0 failed" when ctest found something wrong, such as no tests at all.
if [ "$status" -ne 0 ]; then counts=${counts/, 0 failed/, 1 failed}; fi
echo "$counts"
exit "$status"
