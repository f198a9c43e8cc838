#!/usr/bin/env bash
# Kills a run N times at random moments and resumes it each time, then compares its metrics, samples and
# final weights, bit for bit, with those of a run that nothing disturbed. In the undisturbed run it also
# watches memory and open files of the ranks, and fails when they grow.
#
#   tools/soak.sh [N] [PROGRAM] [CONFIG] [TRAIN OPTION...]
#   example: ORRERY_SOAK_STEPS=60 ORRERY_SOAK_SECONDS=20 tools/soak.sh 20 build/release/orrery \
#              configs/grpo_arithmetic.cfg --set model.actor.path=runs/sft_arithmetic/models/latest/actor
#
# default: 20 kills, build/release/orrery, configs/ppo_tiny.cfg
#   ORRERY_SEED           draws the moments and the ranks that are killed
#   ORRERY_SOAK_STEPS     of the run; default 80 a kill and 60 more
#   ORRERY_SOAK_SECONDS   a kill comes at latest so long after a start; default 2.5
# Memory may grow by 1 MiB in 1,000 steps: the slope of a least-squares line through what is sampled
# each second in the second half of the run. The fewest open files may not be more in its second half than
# in its first.
#
# cost: some 3 s a kill on 2 cores; needs a built PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
n=${1:-20} program=${2:-build/release/orrery} config=${3:-configs/ppo_tiny.cfg}
options=("${@:4}")
work=$(mktemp -d "${TMPDIR:-/tmp}/orrery-soak-XXXXXX")
trap 'pkill -KILL -f "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
seed=${ORRERY_SEED:-$$}
RANDOM=$seed
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native \
  OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1
steps=${ORRERY_SOAK_STEPS:-$((n * 80 + 60))}
longest=${ORRERY_SOAK_SECONDS:-2.5}

train() { # name
  exec mpirun --oversubscribe -n 3 "$program" train "$config" "${options[@]}" \
    --set experiment.output_dir="$work" --set experiment.name="$1" \
    --set experiment.total_steps=$steps --set checkpoint.every_steps=10 --set evaluate.every_steps=50
}

last_step() { # name
  { grep -o '"step":[0-9]*' "$work/$1/metrics.jsonl" 2>/dev/null || true; } | tail -n 1 | cut -d: -f2
}

# rank, step, KiB of memory, open files: each second while a run runs.
watch_ranks() { # launcher, name
  local ranks rank pid step
  while kill -0 "$1" 2>/dev/null; do
    step=$(last_step "$2")
    mapfile -t ranks < <(pgrep -P "$1" | sort -n)
    for rank in "${!ranks[@]}"; do
      pid=${ranks[$rank]}
      echo "$rank ${step:-0} $(awk '/VmRSS/ {print $2}' "/proc/$pid/status") $(find "/proc/$pid/fd" -mindepth 1 | wc -l)"
    done
    sleep 1
  done
}

echo "soak.sh: $n kills in $steps steps of $config, seed $seed"
(train undisturbed) >"$work/undisturbed.txt" 2>&1 &
launcher=$!
watch_ranks $launcher undisturbed >"$work/usage.txt" 2>/dev/null || true
wait $launcher || { tail -n 20 "$work/undisturbed.txt"; exit 1; }

n_killed=0
while [ $n_killed -lt "$n" ]; do
  (train killed) >"$work/killed.txt" 2>&1 &
  launcher=$!
  sleep "$(awk -v r=$RANDOM -v longest="$longest" 'BEGIN { print 0.3 + (longest - 0.3) * r / 32768 }')"
  victim=$({ pgrep -P $launcher || true; } | sort -n | sed -n "$((RANDOM % 3 + 1))p")  # none yet: mpirun
  kill -KILL "${victim:-$launcher}" 2>/dev/null || true
  status=0
  wait $launcher 2>/dev/null || status=$?
  if [ $status -eq 0 ]; then
    echo "the run was over before all kills: fewer ORRERY_SOAK_SECONDS or more ORRERY_SOAK_STEPS"
    exit 1
  fi
  n_killed=$((n_killed + 1))
  at=$(last_step killed)
  echo "kill $n_killed of $n: exit $status at step ${at:-0} of $steps"
done
(train killed) >"$work/killed.txt" 2>&1 || { tail -n 20 "$work/killed.txt"; exit 1; }

python3 tools/compare_runs.py "$work/undisturbed" "$work/killed"
diff -r "$work/undisturbed/samples" "$work/killed/samples"
n_files=0
for weights in "$work"/undisturbed/models/latest/*/*.safetensors; do
  cmp "$weights" "${weights/undisturbed/killed}"
  n_files=$((n_files + 1))
done
[ $n_files -gt 0 ] || { echo "the runs left no weights to compare"; exit 1; }
echo "soak.sh: $n kills; metrics, samples and $n_files files of weights equal bit for bit"

python3 - "$work/usage.txt" $steps <<'PY'
import collections
import sys

samples, total = collections.defaultdict(list), int(sys.argv[2])
for line in open(sys.argv[1]):
    fields = line.split()
    if len(fields) == 4 and int(fields[1]) > 0:
        samples[int(fields[0])].append([int(field) for field in fields[1:]])
grows = not samples
for rank, rows in sorted(samples.items()):
    late = [row for row in rows if row[0] > total / 2]
    early = [row for row in rows if total / 5 < row[0] <= total / 2] or rows[:1]
    if len(late) < 5:
        print(f"rank {rank}: {len(late)} samples in the second half are too few to tell")
        continue
    steps, memory = [row[0] for row in late], [row[1] for row in late]
    mean_step, mean_memory = sum(steps) / len(steps), sum(memory) / len(memory)
    spread = sum((step - mean_step) ** 2 for step in steps)
    slope = 1000 * sum((step - mean_step) * (kib - mean_memory)
                       for step, kib in zip(steps, memory)) / max(spread, 1)
    files = min(row[2] for row in early), min(row[2] for row in late)  # others come and go
    print(f"rank {rank}: memory {rows[0][1] / 1024:.1f} MiB at step {rows[0][0]}, "
          f"{rows[-1][1] / 1024:.1f} MiB at step {rows[-1][0]}, {slope:+.0f} KiB in 1,000 steps of the "
          f"second half ({len(late)} samples); open files {files[0]} -> {files[1]}")
    grows |= slope > 1024 or files[1] > files[0]
sys.exit("soak.sh: memory or open files grow" if grows else 0)
PY
