#!/usr/bin/env python3
"""Compares the metrics of two runs bit for bit, times left out.

  tools/compare_runs.py RUN RUN [--from STEP] [--leave-out METRIC]...

RUN is a run directory or its metrics.jsonl. Exits with 0 when every step of both has the same
metrics, with 1 and the first differences when not. What depends on the machine is not compared: names
that begin with time/ or memory/ or end in _per_second.
"""
import argparse
import json
import pathlib
import sys


def depends_on_machine(name):
    return name.startswith(("time/", "memory/")) or name.endswith("_per_second")


def metrics_of(run, first_step, left_out):
    """(step, call, name) -> every value that was written for it, in order."""
    path = pathlib.Path(run)
    if path.is_dir():
        path = path / "metrics.jsonl"
    found = {}
    for line in filter(None, path.read_text().split("\n")):
        row = json.loads(line)
        if row["step"] < first_step:
            continue
        for name, value in row["metrics"].items():
            if not depends_on_machine(name) and name.rsplit("/", 1)[-1] not in left_out:
                found.setdefault((row["step"], row["call"] or "", name), []).append(value)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs=2, metavar="RUN")
    parser.add_argument("--from", dest="first_step", type=int, default=0, metavar="STEP",
                        help="leave out the steps before this one")
    parser.add_argument("--leave-out", action="append", default=[], metavar="METRIC",
                        help="leave out metrics of this name, without its call")
    arguments = parser.parse_args()

    first, second = (metrics_of(run, arguments.first_step, arguments.leave_out)
                     for run in arguments.runs)
    differences = [key for key in sorted(first.keys() | second.keys())
                   if first.get(key) != second.get(key)]
    for step, call, name in differences[:10]:
        key = (step, call, name)
        print(f"step {step} {call or '-'} {name}: {first.get(key)} and {second.get(key)}")
    if not first and not second:
        print("no metrics in either run")
        return 1
    steps = {key[0] for key in first.keys() | second.keys()}
    print(f"{len(steps)} steps, {len(first.keys() | second.keys())} metrics, "
          f"{len(differences)} differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
