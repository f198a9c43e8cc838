#!/usr/bin/env bash
# Training on a real Slurm cluster of two nodes (two_nodes.sh), with the faults that only a cluster has.
#
#   slurm_test.sh PROGRAM CASE
#
# Every case but `doctor` trains configs/grpo_tiny.cfg over both nodes and ends by comparing its metrics, bit for
# bit, with those of a run that nothing disturbed. Exits with 77 (skipped) where Slurm cannot start.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
program=$(realpath "${1:?usage: slurm_test.sh PROGRAM CASE}")
case_=${2:?usage: slurm_test.sh PROGRAM CASE}
home=${ORRERY_SLURM_DIR:-/srv/orrery-slurm}
work=$home/work/$case_
export SLURM_CONF=$home/slurm.conf ORRERY_PROGRAM=$program PATH=$PATH:/usr/sbin:/sbin
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

fail() { echo "FAILED: $1"; [ -f "$work/out.txt" ] && tail -n 40 "$work/out.txt"; exit 1; }

# Steps of 0.02 s; a checkpoint every 50 of them.
steps=400
experiment=("$root/configs/grpo_tiny.cfg" --set "experiment.output_dir=$work"
            --set "evaluate.every_steps=100"
            --set "checkpoint.every_steps=50" --set "experiment.deadline_seconds=8")

train_undisturbed() {
  srun --mpi=pmix -N2 -n3 --distribution=block "$program" train "${experiment[@]}" \
    --set experiment.name=undisturbed --set "experiment.total_steps=$steps" >"$work/undisturbed.txt" 2>&1 ||
    { tail -n 20 "$work/undisturbed.txt"; fail "the undisturbed run exits with $?"; }
}

# Submits one of the shipped batch scripts; prints the job's number.
submit() { # script, further arguments of sbatch
  local script=$1; shift
  (cd "$root" && sbatch --parsable --nodes=2 --ntasks=3 --ntasks-per-node=2 --cpus-per-task=1 \
    --output="$work/out.txt" "$@" "slurm/$script" "${experiment[@]}" \
    --set experiment.name=disturbed --set "experiment.total_steps=$steps")
}

job_state() { scontrol show job "$1" -o 2>/dev/null | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }

wait_for_state() { # job, seconds, states
  local job=$1 deadline=$((SECONDS + $2)); shift 2
  while [ $SECONDS -lt $deadline ]; do
    local state; state=$(job_state "$job")
    for wanted in "$@"; do [ "$state" = "$wanted" ] && return 0; done
    sleep 0.3
  done
  fail "job $job is $(job_state "$job") after the wait for $*"
}

wait_for_step() { # number: until the disturbed run has logged it
  local deadline=$((SECONDS + 60))
  until grep -q "\"step\":$1," "$work/disturbed/metrics.jsonl" 2>/dev/null; do
    [ $SECONDS -lt $deadline ] || fail "step $1 was not reached"
    sleep 0.1
  done
}

expect_completed_as_undisturbed() { # job, seconds
  wait_for_state "$1" "$2" COMPLETED
  python3 "$root/tools/compare_runs.py" "$work/undisturbed" "$work/disturbed" ||
    fail "the metrics differ from those of the undisturbed run"
}

no_rank_is_left() {
  for _ in $(seq 50); do
    pgrep -f "$program train" >/dev/null || return 0
    sleep 0.2
  done
  pgrep -af "$program train"
  fail "ranks are left behind"
}

case_doctor() {
  srun --mpi=pmix -N2 -n3 --distribution=block "$program" doctor --seconds 0.2 --write-mb 8 \
    --directory "$work/runs" >"$work/out.txt" 2>&1 || fail "doctor exits with $?"
  for line in '3 ranks on 2 nodes' 'MPI within the node' 'MPI to ' 'clock of ' 'all ranks see the file'; do
    grep -q "$line" "$work/out.txt" || fail "doctor does not say: $line"
  done
  [ ! -e "$work/runs" ] || fail "doctor leaves its directory behind"
}

case_srun() {
  train_undisturbed
  local job; job=$(submit cpu_many_nodes.sbatch)
  expect_completed_as_undisturbed "$job" 60
  grep -q '2 workers' "$work/out.txt" || fail "not two workers"
}

case_mpirun() {
  train_undisturbed
  local job; job=$(submit mpirun_many_nodes.sbatch)
  expect_completed_as_undisturbed "$job" 60
}

# Slurm looks at the time twice a minute: the signal comes 10 to 45 s after the start, before the run can
# have ended.
case_walltime() {
  steps=3600
  train_undisturbed
  local job; job=$(submit cpu_many_nodes.sbatch --time=1 --signal=B:USR1@45)
  local deadline=$((SECONDS + 110))
  until grep -q 'stopped on purpose' "$work/out.txt" 2>/dev/null || [ $SECONDS -ge $deadline ]; do
    sleep 0.1
  done
  grep -q 'stopped on purpose' "$work/out.txt" || fail "the time limit came without an orderly stop"
  scontrol update job="$job" TimeLimit=10 2>/dev/null  # the rest in one go
  expect_completed_as_undisturbed "$job" 180
  [ "$(scontrol show job "$job" -o | grep -o 'Restarts=[0-9]*')" = Restarts=1 ] || fail "not one restart"
}

case_requeue() {
  train_undisturbed
  local job; job=$(submit cpu_many_nodes.sbatch)
  wait_for_step 120
  scontrol requeue "$job" || fail "scontrol requeue"
  wait_for_state "$job" 30 PENDING
  expect_completed_as_undisturbed "$job" 90
}

case_node_dies() {
  train_undisturbed
  local job; job=$(submit cpu_many_nodes.sbatch)
  wait_for_step 120
  "$here/two_nodes.sh" node-dies 2
  sleep 1
  "$here/two_nodes.sh" node-returns 2 >/dev/null
  # Slurm requeues it by itself when it sees the node fail, or the launcher reports the lost ranks.
  wait_for_state "$job" 60 PENDING FAILED NODE_FAIL CANCELLED COMPLETED
  no_rank_is_left_of_the_first_run "$job"
  [ "$(job_state "$job")" = PENDING ] || job=$(submit cpu_many_nodes.sbatch --open-mode=append)
  expect_completed_as_undisturbed "$job" 90
}

no_rank_is_left_of_the_first_run() {
  case $(job_state "$1") in PENDING | RUNNING) return 0 ;; *) no_rank_is_left ;; esac
}

case_cut() {
  train_undisturbed
  local job; job=$(submit cpu_many_nodes.sbatch)
  wait_for_step 120
  "$here/two_nodes.sh" cut 2
  # Peers that no message reaches any more: the deadline ends the job, or Slurm the node.
  wait_for_state "$job" 60 PENDING FAILED NODE_FAIL CANCELLED COMPLETED
  "$here/two_nodes.sh" mend 2
  "$here/two_nodes.sh" node-dies 2  # what the node still runs is of a job that is over
  sleep 1
  "$here/two_nodes.sh" node-returns 2 >/dev/null
  [ "$(job_state "$job")" = PENDING ] || job=$(submit cpu_many_nodes.sbatch --open-mode=append)
  expect_completed_as_undisturbed "$job" 90
}

exec 9>/var/lock/orrery-slurm-test && flock 9  # there is one such cluster on a machine
"$here/two_nodes.sh" start 9>&-
status=$?
if [ $status -ne 0 ]; then
  echo "SKIPPED: slurm.$case_ needs root, Slurm, munge and network namespaces"
  exit $status
fi
trap '"$here/two_nodes.sh" stop' EXIT
rm -rf "$work" && mkdir -p "$work"
"case_$case_"
echo "ok: $case_, $SECONDS s"
