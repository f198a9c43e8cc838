#!/usr/bin/env bash
# Breaks a run in every way that can be arranged on one machine, each at a moment drawn from a seed,
# and resumes it. What is expected every time: it ends or goes on within the deadline, with the right
# exit code and one report that says what happened; no process is left; the same command then goes on
# and ends with the same metrics and the same samples, bit for bit, as a run that nothing disturbed;
# over the whole run each sample was trained on once, in the order of the data (count_samples.py).
#
#   fault_matrix.sh [--full] PROGRAM [CASE...]     prints a row of a table for each case
#
# Where a case has variants (stages of a save, files of a checkpoint, ...) a sample of them is drawn;
# --full takes all, and every case at three moments. FAILING_DISK names libfailing_disk.so, without
# which no disk fails.
#
# cost: some 5 s a case on 2 cores, all together 4 minutes, --full 30 minutes; the cases of full and
# read-only disks need root (mount)
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
is_full=false
if [ "${1:-}" = --full ]; then is_full=true; shift; fi
program=$(realpath "${1:?usage: fault_matrix.sh [--full] PROGRAM [CASE...]}")
shift
failing_disk=${FAILING_DISK:-$(dirname "$program")/tests/fault/libfailing_disk.so}
work=$(mktemp -d "${TMPDIR:-/tmp}/orrery-fault-XXXXXX")
seed=${ORRERY_SEED:-$$}
RANDOM=$seed
echo "seed $seed (ORRERY_SEED), in $work"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native \
  OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_orte_abort_print_stack=0
steps=40
deadline=4
output=$work
more=""                # further settings of the runs of a case
as=()                  # a command in front of mpirun
reference=undisturbed  # what they are compared with
moment=""              # in the names of the runs of a case that has had another moment before
n_failed=0 n_passed=0 n_skipped=0

clean() {
  pkill -KILL -f "$work" 2>/dev/null
  umount -l "$work/disk" 2>/dev/null
  for folder in "$work"/*/checkpoints; do mountpoint -q "$folder" 2>/dev/null && umount -l "$folder"; done
  rm -rf "$work"
}
trap clean EXIT

command_of() { # name
  echo "$program train $root/configs/ppo_tiny.cfg --set experiment.output_dir=$output" \
    "--set experiment.name=$1 --set experiment.total_steps=$steps --set checkpoint.every_steps=5" \
    "--set experiment.deadline_seconds=$deadline --set call.actor_train.adaptive_kl=true" \
    "--set evaluate.every_steps=10 $more"
}
run() { timeout -k 5 120 "${as[@]}" mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.txt" 2>&1; }

# Runs that are broken from outside slow down in their last steps (a worker trains twice a step): on a busy
# machine whoever waits for a step is late by some, and must not find the run at its end.
slow_from=67
start() { # name; sets launcher
  ORRERY_FAULT=worker.train_step:slow:$slow_from mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.txt" 2>&1 &
  launcher=$!
  began=$SECONDS
}
start_rank_with() { # name, rank, variables that this rank alone has (NAME=VALUE)...
  local name=$1 special=$2 rank variable own contexts=()
  shift 2
  for rank in 0 1 2; do
    own=()
    if [ "$rank" = "$special" ]; then for variable in "$@"; do own+=(-x "$variable"); done; fi
    [ "$rank" = 0 ] || contexts+=(:)
    contexts+=(-n 1 "${own[@]}" $(command_of "$name"))
  done
  mpirun --oversubscribe "${contexts[@]}" >"$work/$name.txt" 2>&1 &
  launcher=$!
  began=$SECONDS
}
run_rank_with() { # as above; sets status and seconds
  start_rank_with "$@"
  finish
}
some_of() { # n, variants...: n of them, or all
  local n=$1
  shift
  if $is_full; then echo "$@" && return; fi
  local variant # RANDOM would be another one here, in the process of a substitution
  for variant in "$@"; do
    echo "$(md5sum <<<"$seed $moment ${kind:-} $variant" | cut -d" " -f1) $variant"
  done | sort | head -n "$n" | cut -d' ' -f2
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
  for _ in $(seq 1200); do # a minute: what hangs longer fails its case
    kill -0 "$launcher" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$launcher" 2>/dev/null
  wait "$launcher" 2>/dev/null
  status=$?
  seconds=$((SECONDS - began))
}
some_step() { echo $((6 + RANDOM % 24)); }

# One row: the case, what it ended with, and whether all expectations hold.
verdict() { # name, expected exit codes (a|b), text that the report must have ('' for none)
  local name=$1 wrong="" report
  [[ $status =~ ^($2)$ ]] || wrong="exit $status instead of $2"
  # A run that is done takes what the machine needs for it.
  [ "$seconds" -le $((2 * deadline + 6)) ] || [ "$status" -eq 0 ] || wrong="$wrong; took $seconds s"
  report=$(grep -m1 -E -- "${3:-.}" "$work/$name.txt" | tr -d '\r' | cut -c1-110)
  [ -n "$report" ] || wrong="$wrong; no report with '$3'"
  for _ in $(seq 60); do pgrep -f "experiment.name=$name " >/dev/null || break; sleep 0.1; done
  pgrep -f "experiment.name=$name " >/dev/null && wrong="$wrong; processes are left"
  resume "$name" || wrong="$wrong; it does not go on as if nothing had happened"
  if [ -z "$wrong" ]; then n_passed=$((n_passed + 1)); else n_failed=$((n_failed + 1)); fi
  printf '| %s | %s | %s s | %s | %s |\n' "$name" "$status" "$seconds" "${report//|/ }" "${wrong:-as expected}"
  if [ -n "$wrong" ]; then
    { echo "$name: $wrong"; tail -n 15 "$work/$name.txt" "$work/$name.resumed.txt"; } | tee -a "$work/wrong.txt"
  fi
}

resume() { # name
  timeout -k 5 120 "${as[@]}" mpirun --oversubscribe -n 3 $(command_of "$1") >"$work/$1.resumed.txt" 2>&1 || return 1
  compare "$1" >"$work/$1.compared.txt" || { cat "$work/$1.compared.txt"; return 1; }
}
compare() { # name
  python3 "$root/tests/fault/count_samples.py" "$output/$1" "$root/configs/data/tiny.jsonl" \
    --steps $steps --prompts 8 --group 2 || return 1
  [ -n "$reference" ] || return 0
  # How often a command was started again tells of the fault, not of the training.
  python3 "$root/tools/compare_runs.py" "$work/$reference" "$output/$1" \
    --leave-out command_restarts || return 1
  diff -rq "$work/$reference/samples" "$output/$1/samples"
}

kill_rank() { # name, rank, expected report
  start "$1"
  wait_for_step "$1" "$(some_step)"
  began=$SECONDS
  kill -KILL "$(rank_pid "$2")"
  finish
  verdict "$1" "137|4" "$3"
}

case_worker_killed() { kill_rank "worker_killed$moment" $((1 + RANDOM % 2)) "signal 9"; }
case_master_killed() { kill_rank "master_killed$moment" 0 "signal 9"; }
case_launcher_killed() {
  local name=launcher_killed$moment
  start "$name"
  wait_for_step "$name" "$(some_step)"
  began=$SECONDS
  kill -KILL "$launcher"
  finish
  verdict "$name" "137" "run directory"
}
case_worker_exits() { # with 0, as if all were well
  run_rank_with "worker_exits$moment" $((1 + RANDOM % 2)) \
    ORRERY_FAULT="worker.handle:exit:$((20 + RANDOM % 60))"
  verdict "worker_exits$moment" "[1-9][0-9]*" "without calling|deadline|no worker answers|exited"
}
stop_rank() { # name, rank, expected report
  start "$1"
  wait_for_step "$1" "$(some_step)"
  began=$SECONDS
  kill -STOP "$(rank_pid "$2")"
  finish
  verdict "$1" "4" "$3"
}
case_worker_hangs() {
  stop_rank "worker_hangs$moment" $((1 + RANDOM % 2)) "no worker answers|waits|deadline|no progress"
}
case_master_hangs() { stop_rank "master_hangs$moment" 0 "waits|deadline|no progress"; }
case_worker_slow() { # is waited for
  local name=worker_slow$moment slow
  began=$SECONDS
  start "$name"
  wait_for_step "$name" "$(some_step)"
  slow=$(rank_pid $((1 + RANDOM % 2)))
  kill -STOP "$slow"
  sleep 1.5
  kill -CONT "$slow"
  finish
  verdict "$name" "0" "finished after step"
}
at_stage() { # point, action, expected codes, report
  local name="save_${1#checkpoint.}_$2$moment"
  began=$SECONDS
  ORRERY_FAULT="$1:$2:$((1 + RANDOM % 3))" run "$name"
  status=$?
  seconds=$((SECONDS - began))
  verdict "$name" "$3" "$4"
}
case_save_stages() {
  local stage
  for stage in $(some_of 2 data sync manifest rename pointer); do
    at_stage "checkpoint.$stage" kill "137|4" "signal 9"
  done
  for stage in $(some_of 1 data sync manifest rename pointer); do
    at_stage "checkpoint.$stage" error "5" "injected"
  done
}
# A write (of some 100 to 700 of a rank's saves) or an fsync fails as a disk makes it fail.
case_disk_error() {
  if [ ! -f "$failing_disk" ]; then
    echo "| disk_error | skipped: no $failing_disk |"
    n_skipped=$((n_skipped + 1))
    return
  fi
  local kind rank at name
  for kind in $(some_of 2 write:EIO write:ENOSPC fsync:EIO fsync:ENOSPC open:EIO); do
    for rank in $(some_of 1 0 1 2); do
      at=$((1 + RANDOM % (rank == 0 ? 40 : 400)))
      [[ $kind == write* ]] || at=$((1 + RANDOM % 6))
      [[ $kind != open* ]] || rank=0 # who publishes
      name=disk_${kind/:/_}_rank_$rank$moment
      run_rank_with "$name" "$rank" LD_PRELOAD="$failing_disk" ORRERY_DISK_FAULT="$kind:$at"
      verdict "$name" "5" "Input/output error|No space left"
    done
  done
}
on_disk() { # options of tmpfs: false where none can be mounted
  mkdir -p "$work/disk"
  mount -t tmpfs -o "$1" tmpfs "$work/disk" 2>/dev/null && output=$work/disk && return
  echo "| $2 | skipped: no tmpfs can be mounted here |"
  n_skipped=$((n_skipped + 1))
  return 1
}
off_disk() { umount -l "$work/disk"; output=$work; }
case_disk_full() {
  local name=disk_full$moment
  on_disk size=$((2600 + RANDOM % 1000))k "$name" || return
  began=$SECONDS
  run "$name"
  status=$?
  seconds=$((SECONDS - began))
  mount -o remount,size=64m "$work/disk"
  verdict "$name" "5" "No space left|cannot"
  off_disk
}
case_read_only() {
  local name=read_only$moment
  on_disk size=64m "$name" || return
  steps=20 run "$name"
  mount -o remount,ro "$work/disk"
  began=$SECONDS
  run "$name"
  status=$?
  seconds=$((SECONDS - began))
  mount -o remount,rw "$work/disk"
  verdict "$name" "2|5" "Read-only"
  off_disk
}
case_read_only_in_run() { # the folder of checkpoints, by a mount of its own
  local name=read_only_in_run$moment folder
  folder=$output/$name/checkpoints
  start "$name"
  wait_for_step "$name" "$(some_step)"
  began=$SECONDS
  if mount --bind "$folder" "$folder" 2>/dev/null && mount -o remount,bind,ro "$folder"; then
    finish
    umount -l "$folder"
    verdict "$name" "5" "Read-only"
  else
    finish
    echo "| $name | skipped: nothing can be mounted here |"
    n_skipped=$((n_skipped + 1))
  fi
}
case_damage() {
  local variant file how
  for variant in $(some_of 3 {manifest.json,master.h5,worker-0000.h5,worker-0001.h5}:{flip,truncate,remove}); do
    file=${variant%:*} how=${variant#*:}
    local name=damage_${how}_${file%%.*}$moment
    whole_run "$name"
    local path=$output/$name/checkpoints/step-00000020/$file
    local at=$((RANDOM * 32768 + RANDOM)) size
    size=$(stat -c %s "$path")
    at=$((at % size))
    case $how in
      flip) python3 - "$path" "$at" $((RANDOM % 8)) <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ (1 << int(sys.argv[3]))]))
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
}
case_two_jobs() { # the second is turned away, the first does not notice
  local name=two_jobs$moment
  start "$name"
  wait_for_step "$name" "$(some_step)"
  began=$SECONDS
  timeout -k 5 60 mpirun --oversubscribe -n 3 $(command_of "$name") >"$work/$name.second.txt" 2>&1 &
  local second=$! slow
  slow=$(rank_pid 1)
  while kill -0 "$second" 2>/dev/null; do # the first must not end meanwhile: it goes on now and then
    kill -STOP "$slow" 2>/dev/null
    sleep 0.5
    kill -CONT "$slow" 2>/dev/null
    sleep 0.02
  done
  wait "$second"
  second=$?
  finish
  cat "$work/$name.second.txt" >>"$work/$name.txt"
  [ $status -eq 0 ] && status=$second
  verdict "$name" "2" "another job|in use|is used|lock"
}
# Every way to write where a run goes on. Each begins with a run of 20 steps.
whole_run() { # name: of 20 steps, made once
  [ -d "$output/whole$moment" ] || steps=20 run "whole$moment"
  cp -a "$output/whole$moment" "$output/$1"
}
timed_run() { # name: sets status and seconds
  began=$SECONDS
  run "$1"
  status=$?
  seconds=$((SECONDS - began))
}
expect() { # name, what is wrong otherwise, command...
  local name=$1 wrong=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  echo "| $name | $wrong |" | tee -a "$work/wrong.txt"
  n_failed=$((n_failed + 1))
}
case_resume_forms() {
  local form name run path
  for form in $(some_of 3 pointer slash dots linked_parent run_directory older); do
    name=resume_$form$moment run=$output/resume_$form$moment
    whole_run "$name"
    case $form in
      pointer) path=$run/checkpoints/latest ;;
      slash) path=$run/checkpoints/step-00000020/ ;;
      dots) path=$run/samples/.././checkpoints/step-00000020 ;;
      linked_parent) ln -s "$output" "$output/$name.link" && path=$output/$name.link/$name/checkpoints/step-00000020 ;;
      run_directory) path=$run ;;
      older) path=$run/checkpoints/step-00000015 ;;  # two are kept
    esac
    more="--resume $path"
    timed_run "$name"
    more=""
    if [ "$form" = older ]; then
      expect "$name" "the newer checkpoint is not kept" test -d "$run/checkpoints/step-00000020.abandoned"
    fi
    verdict "$name" 0 "goes on after step $([ "$form" = older ] && echo 15 || echo 20) "
    expect "$name" "the run was begun anew" test ! -e "$run.1"
    expect "$name" "something is called damaged" test -z "$(find "$run/checkpoints" -name '*.damaged')"
  done
}
# Where a run begins is not where it goes on: the same command, after a kill, is not begun anew.
case_resume_other() {
  local name=resume_other$moment
  [ -d "$output/whole$moment" ] || steps=20 run "whole$moment"
  more="--resume $output/whole$moment"
  slow_from=27 start "$name" # the first 20 steps were another run's
  wait_for_step "$name" 33
  kill -KILL "$(rank_pid 0)"
  finish
  timed_run "$name"
  more=""
  local wrong=""
  [ $status -eq 0 ] || wrong="exit $status instead of 0"
  grep -qE "goes on after step (25|30|35)" "$work/$name.txt" || wrong="$wrong; it does not go on from its own checkpoint"
  python3 "$root/tools/compare_runs.py" --from 21 "$work/undisturbed" "$output/$name" >/dev/null ||
    wrong="$wrong; other metrics"
  if [ -z "$wrong" ]; then n_passed=$((n_passed + 1)); else n_failed=$((n_failed + 1)); fi
  printf '| %s | %s | %s s | %s | %s |\n' "$name" "$status" "$seconds" \
    "$(grep -m1 -o 'goes on after step.*' "$work/$name.txt" | cut -c1-60)" "${wrong:-as expected}"
  [ -z "$wrong" ] || { echo "$name: $wrong"; tail -n 15 "$work/$name.txt"; } >>"$work/wrong.txt"
}
# What cannot be read is no absence: exit 5, and nothing is touched.
case_unreadable() {
  local what name run
  for what in $(some_of 3 folder_dangling folder_loop folder_is_file manifest_dangling shard_loop); do
    name=unreadable_$what$moment run=$output/unreadable_$what$moment
    whole_run "$name"
    local at=$run/checkpoints
    case $what in
      manifest_dangling) at=$run/checkpoints/step-00000020/manifest.json ;;
      shard_loop) at=$run/checkpoints/step-00000020/worker-0001.h5 ;;
    esac
    mv "$at" "$work/$name.away"
    case $what in
      *_dangling) ln -s "$work/nowhere" "$at" ;;
      *_loop) ln -s "$(basename "$at")" "$at" ;;
      *_file) echo "not mounted" >"$at" ;;
    esac
    find "$run" ! -name '*.lock' ! -name log.txt ! -type d -printf '%P %i %s %T@\n' | sort >"$work/$name.before"
    timed_run "$name"
    find "$run" ! -name '*.lock' ! -name log.txt ! -type d -printf '%P %i %s %T@\n' | sort >"$work/$name.after"
    expect "$name" "something was touched" cmp "$work/$name.before" "$work/$name.after"
    expect "$name" "the run was begun anew" test ! -e "$run.1"
    rm "$at"
    mv "$work/$name.away" "$at"
    verdict "$name" 5 "cannot (be read|follow this link|list this folder|look)|Not a directory"
  done
}
# Root may read everything: another user runs, saves and goes on, and may not read what is masked.
case_other_user() {
  local what name run
  if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
    echo "| other_user | skipped: this needs root and setpriv |"
    n_skipped=$((n_skipped + 1))
    return
  fi
  chmod 711 "$work"
  mkdir -p "$work/user"
  chown 65534:65534 "$work/user"
  as=(setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$work/user")
  output=$work/user
  for what in $(some_of 2 folder manifest shard); do
    name=other_user_$what$moment run=$work/user/other_user_$what$moment
    steps=20 run "$name"
    case $what in
      folder) chmod 000 "$run/checkpoints" ;;
      manifest) chmod 000 "$run/checkpoints/step-00000020/manifest.json" ;;
      shard) chmod 000 "$run/checkpoints/step-00000020/worker-0001.h5" ;;
    esac
    timed_run "$name"
    expect "$name" "the run was begun anew" test ! -e "$run.1"
    chmod -R u+rwX "$run"
    verdict "$name" 5 "Permission denied"
  done
  as=()
  output=$work
}
# One directory under two names: the lock is the directory's.
case_two_names() {
  local how name second other slow
  for how in link mount; do
    name=two_names_$how$moment other=$work/two_names_$how$moment.other
    start "$name"
    wait_for_step "$name" "$(some_step)"
    mkdir -p "$other"
    if [ $how = link ]; then
      ln -s "$output/$name" "$other/$name"
    elif ! { mkdir "$other/$name" && mount --bind "$output/$name" "$other/$name"; } 2>/dev/null; then
      finish
      echo "| $name | skipped: nothing can be mounted here |"
      n_skipped=$((n_skipped + 1))
      continue
    fi
    began=$SECONDS
    output=$other
    timeout -k 5 60 mpirun --oversubscribe -n 3 $(command_of "$name") >"$work/$name.second.txt" 2>&1 &
    second=$!
    output=$work
    slow=$(rank_pid 1)
    while kill -0 "$second" 2>/dev/null; do
      kill -STOP "$slow" 2>/dev/null
      sleep 0.5
      kill -CONT "$slow" 2>/dev/null
      sleep 0.02
    done
    wait "$second"
    second=$?
    local turned_away=$((SECONDS - began))
    finish
    seconds=$turned_away
    [ $how = link ] || umount "$other/$name"
    cat "$work/$name.second.txt" >>"$work/$name.txt"
    [ $status -eq 0 ] && status=$second
    verdict "$name" 2 "in use"
  done
}
# Whoever moves the directory of a running job ends it; what was saved goes on under the old name.
case_renamed() {
  local name=renamed$moment
  start "$name"
  wait_for_step "$name" "$(some_step)"
  began=$SECONDS
  mv "$output/$name" "$output/$name.moved"
  finish
  expect "$name" "a second directory was made" test ! -e "$output/$name"
  rm -rf "${output:?}/$name"
  mv "$output/$name.moved" "$output/$name"
  verdict "$name" 5 "No such file or directory"
}
signalled() { # name, signal, codes, report
  start "$1"
  wait_for_step "$1" "$(some_step)"
  began=$SECONDS
  kill "-$2" "$launcher"
  finish
  verdict "$1" "$3" "$4"
}
case_usr1() { signalled "usr1$moment" USR1 85 "stop requested"; }
case_interrupted() { # Ctrl-C of srun: every rank has the signal
  local name=interrupted$moment rank
  start "$name"
  wait_for_step "$name" "$(some_step)"
  began=$SECONDS
  for rank in 2 1 0; do kill -INT "$(rank_pid $rank)"; done
  finish
  verdict "$name" 85 "stopped as asked: step [0-9]+ is whole"
}
# Standard streams of the ranks are closed from the start.
case_closed_stream() {
  local streams closing name
  for streams in $(some_of 2 0 1 2 01 02 12 012); do
    name=closed_stream_$streams$moment closing="exec$(sed 's/./ &>\&-/g' <<<"$streams")"
    began=$SECONDS
    mpirun --oversubscribe -n 3 bash -c "$closing; exec \"\$@\"" bash $(command_of "$name") \
      >"$work/$name.txt" 2>&1 &
    launcher=$!
    finish
    cat "$output/$name/log.txt" >>"$work/$name.txt"
    verdict "$name" "0" "run directory"
  done
}
# The warning of the time limit comes before the first step: while ranks start, check and index.
case_usr1_early() {
  local name=usr1_early$moment rank
  began=$SECONDS
  start "$name"
  for _ in $(seq 1000); do # the rank itself: its libraries are loaded by the time it has a socket pair
    [ "$(pgrep -f "experiment.name=$name " | wc -l)" -ge 7 ] && break
    sleep 0.01
  done
  sleep "0.$((RANDOM % 5))"
  for rank in 0 1 2; do kill -USR1 "$(rank_pid $rank)" 2>/dev/null; done
  finish
  verdict "$name" 85 "asked to stop before the first step|stop requested"
}
# One rank is another build of the program: the linker's mark in it is another one.
case_other_build() {
  local name=other_build$moment
  python3 - "$program" "$work/other_orrery" <<'PY'
import os, subprocess, sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.find(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0")
data[at + 16] ^= 1
open(sys.argv[2], "wb").write(data)
os.chmod(sys.argv[2], 0o755)
PY
  began=$SECONDS
  local command
  command=$(command_of "$name")
  mpirun --oversubscribe -n 2 $command : -n 1 "$work/other_orrery" ${command#"$program"} \
    >"$work/$name.txt" 2>&1 &
  launcher=$!
  began=$SECONDS
  finish
  verdict "$name" 2 "build .* on rank 2"
}
# A command leaves a daemon behind, in a session of its own, that holds what it was given.
case_reward_daemon() {
  local name=reward_daemon$moment daemon="sleep 987.$$"
  write_judge
  sed -i "2i import subprocess; subprocess.Popen('$daemon'.split(), start_new_session=True)" "$work/judge.py"
  more="--set call.reward.interface=command_reward --set call.reward.command=$work/judge.py"
  reference=""
  began=$SECONDS
  start "$name"
  finish
  verdict "$name" 0 "finished after step"
  if pgrep -f "$daemon" >/dev/null; then
    echo "| $name | the daemon is left |"
    n_failed=$((n_failed + 1))
    pkill -f "$daemon"
  fi
  more=""
  reference=undisturbed
}
case_term() { signalled "term$moment" TERM "[1-9][0-9]*" "run directory"; }
case_twice() {
  local name=twice$moment
  start "$name"
  wait_for_step "$name" 8
  kill -KILL "$(rank_pid 1)"
  finish
  start "$name"
  wait_for_step "$name" 22
  began=$SECONDS
  kill -KILL "$(rank_pid 0)"
  finish
  verdict "$name" "137|4" "signal 9"
}
# A worker passes the loss 4 times a step, of actor and critic in turn.
case_nan_loss() {
  local name=nan_loss$moment
  more="--set model.actor.on_nonfinite=stop --set model.critic.on_nonfinite=stop"
  run_rank_with "$name" $((1 + RANDOM % 2)) ORRERY_FAULT="train.loss:nan:$((24 + RANDOM % 92))"
  verdict "$name" "3" "worker [01] on .*, step [0-9]+, role (actor|critic), .*the loss is not finite"
  more=""
}
case_nan_loss_skipped() { # the update is left out: another training from there on
  local name=nan_loss_skipped$moment
  run_rank_with "$name" $((1 + RANDOM % 2)) ORRERY_FAULT="train.loss:nan:$((24 + RANDOM % 92))"
  reference=""
  verdict "$name" "0" "optimizer step [0-9]+ skipped: the loss is not finite"
  reference=undisturbed
  local skipped
  skipped=$(grep -o '"[a-z_]*/skipped_steps":[0-9.e-]*' "$output/$name/metrics.jsonl" |
    awk -F: '{ n += $2 * 1 } END { printf "%g", n }')
  if ! awk -v n="$skipped" 'BEGIN { exit !(n > 0 && n <= 1) }'; then
    echo "| $name | skipped_steps is $skipped in all |"
    n_failed=$((n_failed + 1))
  fi
}
case_out_of_memory() {
  local name=out_of_memory$moment
  run_rank_with "$name" $((1 + RANDOM % 2)) ORRERY_FAULT="worker.handle:memory:$((20 + RANDOM % 160))"
  verdict "$name" "3" "worker [01] on .*step [0-9]+.*there is no memory for"
}
# The command that gives the rewards fails at one line that it is asked, once or from then on. An answer
# that is late is left out, so another training follows; what ends the job is asked for again.
case_reward() {
  local how name
  write_judge
  local judged="--set call.reward.interface=command_reward --set call.reward.command=$work/judge.py
    --set call.reward.timeout_seconds=1 --set call.reward.restarts=1"
  more=$judged
  reference=undisturbed_judge
  [ -d "$work/$reference" ] || run "$reference" || { cat "$work/$reference.txt"; n_failed=$((n_failed + 1)); }
  for how in $(some_of 2 {dies,hangs,babbles}_{once,always}); do
    name=reward_$how$moment
    more="$judged"
    [[ $how != *_always ]] || more="$judged --set call.reward.max_failed_share=0"
    began=$SECONDS
    JUDGE_FAULT=$how JUDGE_AT=$((1 + RANDOM % 100)) JUDGE_MARK=$work/$name.mark run "$name"
    status=$?
    seconds=$((SECONDS - began))
    case $how in
      hangs_once)
        reference=""
        verdict "$name" "0" "have no reward .they are left out.: timeout 1: [0-9]+/[01] .no answer for 1 s"
        reference=undisturbed_judge
        if [ "$(cat "$output/$name"/samples/* | grep -c '"failed":"timeout"')" != 1 ]; then
          echo "| $name | not one answer is marked in samples/ |"
          n_failed=$((n_failed + 1))
        fi
        ;;
      *_once) verdict "$name" "0" "judge.py.*(exited|no answer|not )" ;;
      *_always) verdict "$name" "3" "worker [01] on .*judge.py" ;;
    esac
  done
  more=""
  reference=undisturbed
}
write_judge() {
  cat >"$work/judge.py" <<'PY'
#!/usr/bin/env python3
import json, os, sys, time
how, _, until = os.environ.get("JUDGE_FAULT", "none_never").partition("_")
mark, at = os.environ.get("JUDGE_MARK", ""), int(os.environ.get("JUDGE_AT", "0"))

def is_due(n):
    if until == "never":
        return False
    if os.path.exists(mark):
        return until == "always"
    if n != at:
        return False
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return until == "always"

for n, line in enumerate(sys.stdin, 1):
    if is_due(n):
        if how == "dies":
            os._exit(9)
        if how == "hangs":
            time.sleep(1000)
        print("what a lovely question", flush=True)
        continue
    question = json.loads(line)
    reward = len(question["response"]) % 3
    print(json.dumps({"id": question["id"], "reward": reward}), flush=True)
PY
  chmod +x "$work/judge.py"
}

cases=("$@")
if [ ${#cases[@]} -eq 0 ]; then
  cases=(worker_killed master_killed launcher_killed worker_exits worker_hangs master_hangs worker_slow
         save_stages disk_error disk_full read_only read_only_in_run damage two_jobs usr1 interrupted term twice
         nan_loss nan_loss_skipped out_of_memory reward closed_stream usr1_early other_build reward_daemon
         resume_forms resume_other unreadable other_user two_names renamed)
fi
run undisturbed || { tail -n 20 "$work/undisturbed.txt"; echo "0 passed, 1 failed"; exit 1; }
compare undisturbed || { echo "0 passed, 1 failed"; exit 1; }
echo "| fault | exit | after | report | verdict |"
echo "| --- | --- | --- | --- | --- |"
for moment in "" $($is_full && echo _2 _3); do
  for case in "${cases[@]}"; do "case_$case"; done
done
# Once more at the end, where a reader of a long log looks.
[ ! -e "$work/wrong.txt" ] || cat "$work/wrong.txt"
echo "$n_passed passed, $n_failed failed, $n_skipped skipped"
[ "$n_failed" -eq 0 ]
