#!/usr/bin/env bash
# Sets everything up and runs the main job: a small decoder learns two-digit additions, first from
# examples (SFT), then by reinforcement learning (GRPO) with a rule as reward.
#
#   tools/quickstart.sh [--workers N] [--seed N] [--output DIR]
#
# cost: minutes on 2 cores: the first time some more for installing and building
# needs: Debian 12 or Ubuntu 24.04; root or sudo only if packages are missing
# result: DIR/sft_arithmetic and DIR/grpo_arithmetic (metrics, TensorBoard, samples, models)
set -euo pipefail
cd "$(dirname "$0")/.."

workers=2 seed=1 output=runs
while [ $# -gt 0 ]; do
  case $1 in
    --workers) workers=${2:?--workers needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    --output) output=${2:?--output needs a folder}; shift 2 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
done

started=$SECONDS
tools/setup.sh

train() { # experiment, further arguments of `orrery train`
  local experiment=$1; shift
  echo "== $experiment: mpirun -n $((workers + 1)) build/release/orrery train configs/$experiment.cfg"
  # Open MPI refuses to start as root and to share cores unless told that both are meant.
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native \
    mpirun --oversubscribe -n $((workers + 1)) build/release/orrery train \
    "configs/$experiment.cfg" --set experiment.seed="$seed" --set experiment.output_dir="$output" \
    --resume off "$@"
}

eval_accuracy() { # run directory, first|last
  python3 - "$1/metrics.jsonl" "$2" <<'PY'
import json, sys
rows = [json.loads(line)["metrics"] for line in open(sys.argv[1])]
values = [row["eval/accuracy"] for row in rows if "eval/accuracy" in row]
print(f"{values[0 if sys.argv[2] == 'first' else -1]:.3f}")
PY
}

train sft_arithmetic
train grpo_arithmetic --set model.actor.path="$(realpath "$output")/sft_arithmetic/models/latest/actor"

grpo=$output/grpo_arithmetic
before=$(eval_accuracy "$grpo" first)
after=$(eval_accuracy "$grpo" last)
cat <<END

Look at it:
  build/release/orrery plot $grpo eval/accuracy # here, in the terminal
  build/release/orrery report $grpo --out report.html   # everything, in a browser
  tensorboard --logdir $output                       # curves in a browser (pip install tensorboard)
  tail -n 3 $grpo/samples/*.jsonl               # what the model wrote, with rewards
  ui.perfetto.dev with $grpo/trace/             # what every rank did, and when
accuracy: $before before GRPO, $after after, $((SECONDS - started)) s
END
