#!/usr/bin/env bash
# Breaks a run in every way that can be arranged on one machine, each at a moment drawn from a seed,
# and resumes it. What is expected every time: it ends or goes on within the deadline, with the right
# exit code and one report that says what happened; no process is left; the same command then goes on
# and ends with the same metrics and the same samples, bit for bit, as a run that nothing disturbed.
#
#   fault_matrix.sh PROGRAM [CASE...]     prints a row of a table for each case
#
# cost: some 10 s a case on 2 cores; the cases of full and read-only disks need root (tmpfs)
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "${1:?usage: fault_matrix.sh PROGRAM [CASE...]}")
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/orrery-fault-XXXXXX")
RANDOM=${ORRERY_SEED:-$$}
echo "seed $RANDOM (ORRERY_SEED=${ORRERY_SEED:-$$}), in $work"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 \
  OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_orte_abort_print_stack=0
steps=40
deadline=4
output=$work
n_failed=0 n_passed=0 n_skipped=0

clean() {
  pkill -KILL -f "$work" 2>/dev/null
  umount "$work/disk" 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT

command_of() { # name
  echo "$program train $root/configs/ppo_tiny.cfg --set experiment.output_dir=$output" \
    "--set experiment.name=$1 --set experiment.total_steps=$steps --set checkpoint.every_steps=5" \
    "--set experiment.deadline_seconds=$deadline --set call.actor_train.adaptive_kl=true" \
    "--set evaluate.every_steps=10"
}
run() { mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.txt" 2>&1; }

start() { # name; sets launcher
  mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.txt" 2>&1 &
  launcher=$!
}
rank_pid() { pgrep -P "$launcher" | sort -n | sed -n "$(($1 + 1))p"; }
wait_for_step() { # name, step
  for _ in $(seq 600); do
    grep -q "\"step\":$2," "$output/$1/metrics.jsonl" 2>/dev/null && return
    sleep 0.05
  done
  echo "step $2 was not reached"
}
finish() { # sets status and seconds from `began`
  wait "$launcher" 2>/dev/null
  status=$?
  seconds=$((SECONDS - began))
}
some_step() { echo $((6 + RANDOM % 24)); }

# One row: the case, what it ended with, and whether all expectations hold.
verdict() { # name, expected exit codes (a|b), text that the report must have ('' for none)
  local name=$1 wrong="" report
  [[ $status =~ ^($2)$ ]] || wrong="exit $status instead of $2"
  [ "$seconds" -le $((2 * deadline + 6)) ] || wrong="$wrong; took $seconds s"
  report=$(grep -m1 -E -- "${3:-.}" "$work/$name.txt" | tr -d '\r' | cut -c1-110)
  [ -n "$report" ] || wrong="$wrong; no report with '$3'"
  for _ in $(seq 60); do pgrep -f "experiment.name=$name " >/dev/null || break; sleep 0.1; done
  pgrep -f "experiment.name=$name " >/dev/null && wrong="$wrong; processes are left"
  resume "$name" || wrong="$wrong; it does not go on as if nothing had happened"
  if [ -z "$wrong" ]; then n_passed=$((n_passed + 1)); else n_failed=$((n_failed + 1)); fi
  printf '| %s | %s | %s s | %s | %s |\n' "$name" "$status" "$seconds" "${report//|/ }" "${wrong:-as expected}"
  if [ -n "$wrong" ]; then tail -n 15 "$work/$name.txt" "$work/$name.resumed.txt"; fi
}

resume() { # name
  mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.resumed.txt" 2>&1 || return 1
  python3 "$root/tools/compare_runs.py" "$work/undisturbed" "$output/$1" >"$work/$1.compared.txt" || {
    cat "$work/$1.compared.txt"
    return 1
  }
  diff -r "$work/undisturbed/samples" "$output/$1/samples" >/dev/null || {
    echo "the samples differ"
    return 1
  }
}

kill_rank() { # name, rank, expected report
  began=$SECONDS
  start "$1"
  wait_for_step "$1" "$(some_step)"
  began=$SECONDS
  kill -KILL "$(rank_pid "$2")"
  finish
  verdict "$1" "137|4" "$3"
}

case_worker_killed() { kill_rank worker_killed $((1 + RANDOM % 2)) "signal 9"; }
case_master_killed() { kill_rank master_killed 0 "signal 9"; }
case_launcher_killed() {
  start launcher_killed
  wait_for_step launcher_killed "$(some_step)"
  began=$SECONDS
  kill -KILL "$launcher"
  finish
  verdict launcher_killed "137" "run directory"
}
case_worker_exits() { # with 0, as if all were well
  began=$SECONDS
  mpirun --oversubscribe -n 2 $(command_of worker_exits) : \
    -n 1 -x ORRERY_FAULT="worker.handle:exit:$((20 + RANDOM % 60))" $(command_of worker_exits) \
    >"$work/worker_exits.txt" 2>&1 &
  launcher=$!
  finish
  verdict worker_exits "[1-9][0-9]*" "without calling|deadline|no worker answers|exited"
}
case_worker_hangs() {
  start worker_hangs
  wait_for_step worker_hangs "$(some_step)"
  began=$SECONDS
  kill -STOP "$(rank_pid $((1 + RANDOM % 2)))"
  finish
  verdict worker_hangs "4" "no worker answers|waits|deadline"
}
case_worker_slow() { # is waited for
  began=$SECONDS
  start worker_slow
  wait_for_step worker_slow "$(some_step)"
  local slow; slow=$(rank_pid $((1 + RANDOM % 2)))
  kill -STOP "$slow"
  sleep 1.5
  kill -CONT "$slow"
  finish
  verdict worker_slow "0" "finished after step"
}
at_stage() { # point, action, expected codes, report
  local name="save_${1#checkpoint.}_$2"
  began=$SECONDS
  ORRERY_FAULT="$1:$2:$((1 + RANDOM % 3))" run "$name"
  status=$?
  seconds=$((SECONDS - began))
  verdict "$name" "$3" "$4"
}
case_save_stages() {
  for stage in data sync manifest rename pointer; do
    at_stage checkpoint.$stage kill "137|4" "signal 9"
  done
  for stage in data sync manifest rename; do
    at_stage checkpoint.$stage error "5" "injected"
  done
}
on_disk() { # options of tmpfs: false where none can be mounted
  mkdir -p "$work/disk"
  mount -t tmpfs -o "$1" tmpfs "$work/disk" 2>/dev/null && output=$work/disk && return
  echo "| skipped: no tmpfs can be mounted here |"
  n_skipped=$((n_skipped + 1))
  return 1
}
off_disk() { umount -l "$work/disk"; output=$work; }
case_disk_full() {
  on_disk size=3m || return
  began=$SECONDS
  run disk_full
  status=$?
  seconds=$((SECONDS - began))
  mount -o remount,size=64m "$work/disk"
  verdict disk_full "5" "No space left|cannot"
  off_disk
}
case_read_only() {
  on_disk size=64m || return
  steps=20 run read_only
  mount -o remount,ro "$work/disk"
  began=$SECONDS
  run read_only
  status=$?
  seconds=$((SECONDS - began))
  mount -o remount,rw "$work/disk"
  verdict read_only "2|5" "Read-only"
  off_disk
}
case_damage() {
  steps=20 run damage_whole
  local file
  for file in manifest.json master.h5 worker-0000.h5 worker-0001.h5; do
    for how in flip truncate remove; do
      local name=damage_${how}_${file%%.*}
      cp -a "$output/damage_whole" "$output/$name"
      local path=$output/$name/checkpoints/step-00000020/$file
      local at=$((RANDOM * 32768 + RANDOM)) size
      size=$(stat -c %s "$path")
      at=$((at % size))
      case $how in
        flip) python3 - "$path" "$at" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 0x04]))
PY
          ;;
        truncate) truncate -s "$at" "$path" ;;
        remove) rm "$path" ;;
      esac
      began=$SECONDS
      run "$name"
      status=$?
      seconds=$((SECONDS - began))
      verdict "$name" "0" "is damaged and is not used"
    done
  done
}
signalled() { # name, signal, codes, report
  start "$1"
  wait_for_step "$1" "$(some_step)"
  began=$SECONDS
  kill "-$2" "$launcher"
  finish
  verdict "$1" "$3" "$4"
}
case_usr1() { signalled usr1 USR1 85 "stop requested"; }
case_term() { signalled term TERM "[1-9][0-9]*" "run directory"; }
case_twice() {
  start twice
  wait_for_step twice 8
  kill -KILL "$(rank_pid 1)"
  finish
  start twice
  wait_for_step twice 22
  began=$SECONDS
  kill -KILL "$(rank_pid 0)"
  finish
  verdict twice "137|4" "signal 9"
}
case_out_of_memory() {
  began=$SECONDS
  mpirun --oversubscribe -n 2 $(command_of out_of_memory) : \
    -n 1 -x ORRERY_FAULT="worker.handle:memory:$((20 + RANDOM % 60))" $(command_of out_of_memory) \
    >"$work/out_of_memory.txt" 2>&1
  status=$?
  seconds=$((SECONDS - began))
  verdict out_of_memory "3" "bad_alloc"
}

cases=("$@")
if [ ${#cases[@]} -eq 0 ]; then
  cases=(worker_killed master_killed launcher_killed worker_exits worker_hangs worker_slow save_stages
         disk_full read_only damage usr1 term twice out_of_memory)
fi
run undisturbed || { tail -n 20 "$work/undisturbed.txt"; echo "0 passed, 1 failed"; exit 1; }
echo "| fault | exit | after | report | verdict |"
echo "| --- | --- | --- | --- | --- |"
for case in "${cases[@]}"; do "case_$case"; done
echo "$n_passed passed, $n_failed failed, $n_skipped skipped"
[ "$n_failed" -eq 0 ]
