#!/usr/bin/env python3
"""Draws metrics of a run in the terminal.

    tools/plot.py RUN [METRIC...]     RUN: a run directory or a metrics.jsonl
    tools/plot.py RUN --list          the names of its metrics

Needs Python 3 only. Without METRIC it draws eval/accuracy and the rewards, as far as they exist.
"""
import argparse
import json
import pathlib
import sys

WIDTH, HEIGHT = 72, 16
DEFAULT = ["eval/accuracy", "eval/loss", "actor_train/task_reward", "reward/reward", "sft/loss"]


def read(path):
    """Name -> [(step, value)] of a metrics.jsonl; a torn last line is left out."""
    series = {}
    for line in filter(None, path.read_text().split("\n")):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        for name, value in row["metrics"].items():
            if isinstance(value, (int, float)):
                series.setdefault(name, []).append((row["step"], value))
    return series


def draw(name, points):
    """One metric as rows of text, steps to the right."""
    steps = [step for step, _ in points]
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span, length = (high - low) or 1.0, (max(steps) - min(steps)) or 1
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for step, value in points:
        column = round((step - min(steps)) / length * (WIDTH - 1))
        grid[HEIGHT - 1 - round((value - low) / span * (HEIGHT - 1))][column] = "•"
    print(f"{name}: {values[0]:.4g} -> {values[-1]:.4g} over steps {steps[0]}..{steps[-1]}")
    for row, cells in enumerate(grid):
        label = high - span * row / (HEIGHT - 1)
        print(f"{label:10.4g} |{''.join(cells)}")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("metric", nargs="*")
    parser.add_argument("--list", action="store_true", help="print the names of the metrics")
    args = parser.parse_args()
    path = args.run / "metrics.jsonl" if args.run.is_dir() else args.run
    if not path.is_file():
        sys.exit(f"plot.py: {path}: no such file; give a run directory such as runs/grpo_arithmetic")
    series = read(path)
    if args.list:
        print("\n".join(sorted(series)))
        return
    names = args.metric or [name for name in DEFAULT if name in series] or sorted(series)[:3]
    for name in names:
        if name not in series:
            sys.exit(f"plot.py: no metric '{name}' in {path}; --list shows the names")
        draw(name, series[name])


if __name__ == "__main__":
    main()
