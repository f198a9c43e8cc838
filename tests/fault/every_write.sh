#!/usr/bin/env bash
# Lets each write, each fsync (its folders' too) and each open of a folder of a checkpoint fail in turn, once, with EIO: whichever it is, the program
# says so with exit code 5 and leaves no checkpoint behind. (HDF5 tells of some failures only when a
# dataset is closed, and forgets them then.)
#
#   every_write.sh [--full] PROGRAM      ends with: N passed, N failed, N skipped
#
# FAILING_DISK names libfailing_disk.so. cost: 0.4 s each on 2 cores, 16 of them drawn from ORRERY_SEED;
# --full: all of some 45
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
is_full=false
if [ "${1:-}" = --full ]; then is_full=true; shift; fi
program=$(realpath "${1:?usage: every_write.sh [--full] PROGRAM}")
failing_disk=${FAILING_DISK:-$(dirname "$program")/tests/fault/libfailing_disk.so}
[ -f "$failing_disk" ] || { echo "no $failing_disk: build the target failing_disk"; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/orrery-write-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/checkpoints"
seed=${ORRERY_SEED:-$$}
RANDOM=$seed
n_passed=0 n_failed=0

convert() { # call:error:N, name
  LD_PRELOAD=$failing_disk ORRERY_DISK_FAULT=$1 "$program" convert \
    --from "$root/tests/fixtures/hf/llama-gqa" --to "$work/checkpoints/$2" >"$work/out.txt" 2>&1
}

for call in write fsync open; do
  convert $call:EIO:0 whole_$call || { cat "$work/out.txt"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
  n_calls=$(sed -n 's/^failing_disk: \([0-9]*\) calls$/\1/p' "$work/out.txt")
  mapfile -t all < <(seq "${n_calls:-0}")
  if ! $is_full; then
    mapfile -t all < <(shuf -n 14 -e "${all[@]}" --random-source=<(yes $RANDOM) | sort -n)
  fi
  echo "$call: ${#all[@]} of ${n_calls:-0}, seed $seed"
  [ "${n_calls:-0}" -gt 0 ] || n_failed=$((n_failed + 1))
  for n in "${all[@]}"; do
    convert "$call:EIO:$n" broken
    status=$?
    if [ $status -eq 5 ] && [ ! -e "$work/checkpoints/broken" ] && grep -q "Input/output error" "$work/out.txt"; then
      n_passed=$((n_passed + 1))
    else
      n_failed=$((n_failed + 1))
      echo "$call $n: exit $status, $(ls "$work/checkpoints"): $(tail -n 1 "$work/out.txt")"
      [ -e "$work/checkpoints/broken" ] && "$program" verify "$work/checkpoints/broken"
      rm -rf "$work/checkpoints/broken"
    fi
  done
done
echo "$n_passed passed, $n_failed failed, 0 skipped"
[ $n_failed -eq 0 ]
