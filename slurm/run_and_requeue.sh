#!/usr/bin/env bash
# Runs a command as the one step of a batch job, so that the job survives its own time limit:
#
#   slurm/run_and_requeue.sh srun --mpi=pmix build/release/orrery train CONFIG
#
# - USR1 (from `#SBATCH --signal=B:USR1@300`, 300 s before the limit, or from
#   `scancel --batch --signal=USR1 JOB`) goes on to the command: Orrery ends the step at hand, writes a
#   checkpoint and exits with 85.
# - After exit code 85 the job is queued again; the same command then goes on from the checkpoint. So
#   it is when USR1 came before the command was ready for it and ended it: nothing had begun.
# - Any other exit code is the job's.
#
# needs: `#SBATCH --requeue`; a cluster whose administrators set RequeueExit=85 needs no scontrol
set -uo pipefail
max_requeues=${MAX_REQUEUES:-1000}  # a job that never gets anywhere ends some day

"$@" &
child=$!
signalled=0
trap 'signalled=1; echo "run_and_requeue.sh: USR1, passed on" >&2; kill -USR1 "$child" 2>/dev/null' USR1
trap 'kill -TERM "$child" 2>/dev/null' TERM INT

# wait returns early when a trap has run.
status=0
while :; do
  wait "$child"
  status=$?
  kill -0 "$child" 2>/dev/null || break
done

[ "$signalled" -eq 1 ] && [ "$status" -eq $((128 + $(kill -l USR1))) ] && status=85

if [ "$status" -eq 85 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$max_requeues" ]; then
    echo "run_and_requeue.sh: requeued $max_requeues times already; submit again to go on" >&2
    exit 85
  fi
  echo "run_and_requeue.sh: stopped on purpose; job $SLURM_JOB_ID is queued again" >&2
  scontrol requeue "$SLURM_JOB_ID" ||
    echo "run_and_requeue.sh: cannot requeue; submit the same script again to go on" >&2
fi
exit "$status"
