#!/usr/bin/env bash
# Kills a run N times at random moments and resumes it each time, then compares its metrics, samples and
# final weights, bit for bit, with those of a run that nothing disturbed. Also watches that memory and
# open files of the ranks do not grow.
#
#   tools/soak.sh [N] [PROGRAM] [CONFIG]      default: 20 build/release/orrery configs/ppo_tiny.cfg
#
# cost: some 3 s a kill on 2 cores; needs a built PROGRAM. ORRERY_SEED draws the moments.
set -euo pipefail
cd "$(dirname "$0")/.."
n=${1:-20} program=${2:-build/release/orrery} config=${3:-configs/ppo_tiny.cfg}
work=$(mktemp -d "${TMPDIR:-/tmp}/orrery-soak-XXXXXX")
trap 'pkill -KILL -f "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
RANDOM=${ORRERY_SEED:-$$}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 \
  OMPI_MCA_mpi_yield_when_idle=1
steps=$((n * 30 + 60))

train() { # name
  exec mpirun --oversubscribe -n 3 "$program" train "$config" --set experiment.output_dir="$work" \
    --set experiment.name="$1" --set experiment.total_steps=$steps --set checkpoint.every_steps=10 \
    --set evaluate.every_steps=50
}

# Highest and lowest of a number over the ranks of a run, sampled while it runs.
watch_ranks() { # launcher
  local rank
  while kill -0 "$1" 2>/dev/null; do
    for rank in $(pgrep -P "$1"); do
      echo "$rank $(awk '/VmRSS/ {print $2}' "/proc/$rank/status" 2>/dev/null) $(ls "/proc/$rank/fd" 2>/dev/null | wc -l)"
    done
    sleep 1
  done
}

echo "soak.sh: $n kills in $steps steps of $config"
(train undisturbed) >"$work/undisturbed.txt" 2>&1 &
launcher=$!
watch_ranks $launcher >"$work/usage.txt" 2>/dev/null || true
wait $launcher || { tail -n 20 "$work/undisturbed.txt"; exit 1; }

for ((kill = 1; kill <= n; ++kill)); do
  (train killed) >"$work/killed.txt" 2>&1 &
  launcher=$!
  sleep "$(awk -v r=$RANDOM 'BEGIN { print 0.8 + 1.7 * r / 32768 }')"
  victim=$(pgrep -P $launcher | sort -n | sed -n "$((RANDOM % 3 + 1))p")
  kill -KILL ${victim:-$launcher} 2>/dev/null || true
  status=0
  wait $launcher 2>/dev/null || status=$?
  at=$(grep -o '"step":[0-9]*' "$work/killed/metrics.jsonl" 2>/dev/null | tail -n 1 | cut -d: -f2 || true)
  echo "kill $kill of $n: exit $status at step ${at:-0} of $steps"
done
(train killed) >"$work/killed.txt" 2>&1 || { tail -n 20 "$work/killed.txt"; exit 1; }

python3 tools/compare_runs.py "$work/undisturbed" "$work/killed"
diff -r "$work/undisturbed/samples" "$work/killed/samples"
for weights in "$work"/undisturbed/models/latest/*/model.safetensors; do
  cmp "$weights" "${weights/undisturbed/killed}"
done
awk '{ if (!($1 in first)) { first[$1] = $2; files[$1] = $3 } last[$1] = $2; end[$1] = $3 }
     END { for (r in first) printf "rank %s: memory %d -> %d KiB, open files %d -> %d\n", r, first[r], last[r], files[r], end[r] }' \
  "$work/usage.txt"
echo "soak.sh: $n kills, weights, metrics and samples equal bit for bit"
