#!/usr/bin/env bash
# A rank that dies, and one that never comes: the job must end soon, not with 0, and leave no
# process behind.
#
#   killed_peer_test.sh PROGRAM      PROGRAM: waiting_ranks
#
# cost: about ten seconds, three ranks
set -uo pipefail
program=${1:?usage: killed_peer_test.sh PROGRAM}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native \
  OMPI_MCA_mpi_yield_when_idle=1
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failures=0

is_running() {  # a zombie is gone: only its parent has not asked yet
  local state
  state=$(awk '/^State:/ {print $2}' "/proc/$1/status" 2>/dev/null) && [ -n "$state" ] && [ "$state" != Z ]
}

fail() { echo "FAILED: $*"; cat "$output"; failures=$((failures + 1)); }

start_job() {  # start_job DEADLINE_SECONDS: sets job and pids
  timeout --kill-after=2 40 mpirun --oversubscribe -n 3 "$program" "$1" >"$output" 2>&1 &
  job=$!
  for _ in $(seq 200); do
    [ "$(grep -c '^rank . pid' "$output")" -eq 3 ] && break
    sleep 0.1
  done
  pids=$(awk '/^rank . pid/ {print $4}' "$output")
  [ "$(wc -w <<<"$pids")" -eq 3 ] || fail "three ranks did not start"
}

expect_end() {  # expect_end WHAT: the job ends within 10 s, not with 0, and without orphans
  local started=$SECONDS
  wait "$job"
  status=$?
  [ "$status" -ne 0 ] || fail "$1: exit status 0"
  [ $((SECONDS - started)) -le 10 ] || fail "$1: took $((SECONDS - started)) s"
  sleep 0.5
  for pid in $pids; do
    if is_running "$pid"; then
      fail "$1: process $pid is still there"
      kill -KILL "$pid"
    fi
  done
  echo "$1: exit status $status after $((SECONDS - started)) s"
}

start_job 600
victim=$(awk '/^rank 1 pid/ {print $4}' "$output")
kill -KILL "$victim"
expect_end "a killed peer"

start_job 1
expect_end "a peer that never comes"
[ "$status" -eq 4 ] || fail "a peer that never comes: exit status $status, not 4"
grep -q 'barrier on waiting (workers 0,1,2): a peer missed the deadline' "$output" ||
  fail "a peer that never comes: no text that names the operation"

exit $((failures > 0))
