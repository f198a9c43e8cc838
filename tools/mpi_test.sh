#!/usr/bin/env bash
# Runs a program under mpirun as a test and leaves no rank behind.
#
#   mpi_test.sh RANKS SECONDS PROGRAM [ARGUMENT...]
#
# cost: that of the program; ends it after SECONDS (exit status 124)
# Every line of output begins with its rank; the exit status is that of the first rank that failed.
set -uo pipefail
ranks=${1:?usage: mpi_test.sh RANKS SECONDS PROGRAM [ARGUMENT...]}
seconds=${2:?seconds}
shift 2

# Open MPI refuses to start as root and to share cores unless told that both are meant; ranks that
# wait must give the core away when there are more of them than cores. PMIx asks munge first, and waits
# two seconds for one whose daemon is gone (psec).
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMP_NUM_THREADS=1

setsid timeout --kill-after=5 "$seconds" \
  mpirun --oversubscribe --tag-output -n "$ranks" "$@" &
group=$!
wait "$group"
status=$?
# mpirun ends its ranks when one fails; whatever is still there after that is killed.
pkill -KILL -s "$group" 2>/dev/null && echo "mpi_test.sh: had to kill ranks that were left behind"
[ "$status" -eq 124 ] && echo "mpi_test.sh: not done after $seconds s: $*"
[ "$status" -ne 0 ] && echo "mpi_test.sh: $ranks ranks, exit status $status: $*"
exit "$status"
