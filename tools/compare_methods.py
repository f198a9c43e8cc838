#!/usr/bin/env python3
"""Trains the main job's model with several methods at one budget and prints what each has learned.

    tools/compare_methods.py --model DIR [--methods grpo,dapo,...] [--seeds 1,2,3] [--steps N]
                             [--config CFG] [--orrery PROGRAM] [--workers N] [--output DIR] [--set K=V]

DIR is what sft_arithmetic left behind (runs/sft_arithmetic/models/latest/actor). Without --methods
all of them run, one after the other. A row has the accuracy of the first and the last evaluation in
each seed, and whether the mean reward of the last tenth of the steps is above that of the first tenth
by three standard errors or more. A run that is done is not run again; one that was cut off is.

Needs Python 3 only. cost: methods x seeds x the time of such a run (250 steps: a minute on 2 cores)
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys


def methods_of(program):
    """The names that `method` may have, without none."""
    text = subprocess.run([program, "train", "--help", "--markdown"], capture_output=True, text=True,
                          check=True).stdout
    found = re.search(r"\| `method` \|[^|]*\| one of ([^|]*) \|", text)
    return [name for name in found.group(1).split(", ") if name != "none"]


def series(metrics, name):
    """Values of one metric in order of the steps."""
    values = []
    for line in metrics.read_text().splitlines():
        row = json.loads(line)
        if name in row["metrics"]:
            values.append(row["metrics"][name])
    return values


def gain(rewards):
    """Last tenth minus first tenth, in standard errors of the difference."""
    n = max(len(rewards) // 10, 2)
    first, last = rewards[:n], rewards[-n:]
    error = (statistics.variance(first) / n + statistics.variance(last) / n) ** 0.5
    return (statistics.mean(last) - statistics.mean(first)) / max(error, 1e-9)


def train(arguments, method, seed):
    """Runs it unless it has been; returns its metrics.jsonl."""
    name = f"{method}_{seed}"
    metrics = arguments.output / name / "metrics.jsonl"
    done = arguments.output / f"{name}.done"
    if done.exists():
        return metrics
    sets = [f"experiment.name={name}", f"experiment.output_dir={arguments.output}",
            f"experiment.seed={seed}", f"experiment.total_steps={arguments.steps}",
            f"model.actor.path={arguments.model}", f"call.actor_train.method={method}",
            "evaluate.at_start=true", f"evaluate.every_steps={arguments.steps}",
            "export.every_steps=0", *arguments.set]
    command = ["mpirun", "--oversubscribe", "-n", str(arguments.workers + 1), arguments.orrery,
               "train", arguments.config, "--resume", "off"]
    for each in sets:
        command += ["--set", each]
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       PMIX_MCA_psec="native")
    with open(arguments.output / f"{name}.log", "w") as log:
        result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if result.returncode != 0:
        sys.exit(f"compare_methods.py: {method}, seed {seed}, failed: see {log.name}")
    done.touch()
    return metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--methods")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--config", default="configs/grpo_arithmetic.cfg")
    parser.add_argument("--orrery", default="build/release/orrery")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/methods"))
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    seeds = arguments.seeds.split(",")
    names = arguments.methods.split(",") if arguments.methods else methods_of(arguments.orrery)
    print(f"| method | accuracy before -> after, seeds {', '.join(seeds)} | gain in standard errors |")
    print("| --- | --- | --- |")
    for method in names:
        accuracies, gains = [], []
        for seed in seeds:
            metrics = train(arguments, method, seed)
            accuracy = series(metrics, "eval/accuracy")
            accuracies.append(f"{accuracy[0]:.3f} -> {accuracy[-1]:.3f}")
            gains.append(f"{gain(series(metrics, 'actor_train/task_reward')):.1f}")
        print(f"| `{method}` | {', '.join(accuracies)} | {', '.join(gains)} |", flush=True)


if __name__ == "__main__":
    main()
