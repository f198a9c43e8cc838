#!/usr/bin/env python3
"""Were all samples of a run trained on once, in the order of the data, and none left out?

  count_samples.py RUN DATA.jsonl --steps N --prompts N --group N

Counts the ids in RUN/samples: every step has its own `--prompts` ids, each with `--group` answers on
one rank; over the whole run they are 1, 2, ... without a gap; and in their order every epoch has each
prompt of the data exactly once (the prompts of the data have to differ). Exits with 1 and what is
wrong when not.
"""
import argparse
import collections
import json
import pathlib
import sys


def problems_of(run, data, steps, prompts, group):
    members = collections.defaultdict(list)  # id -> (step, member, prompt) of each line
    for path in sorted((run / "samples").glob("step-*.jsonl")):
        for line in filter(None, path.read_text().split("\n")):
            sample = json.loads(line)
            members[sample["id"]].append((sample["step"], sample["member"], sample["prompt"]))
    problems = []
    wanted = range(1, steps * prompts + 1)
    for i in sorted(members.keys() | set(wanted)):
        step = (i - 1) // prompts + 1
        got = members.get(i, [])
        if sorted(got) != [(step, m, got[0][2] if got else "") for m in range(group)]:
            problems.append(f"id {i}: expected {group} answers in step {step}, got "
                            f"{[(s, m) for s, m, _ in sorted(got)]} (step, member)")
    if problems:
        return problems
    rows = sorted(json.loads(line)["prompt"] for line in filter(None, data.read_text().split("\n")))
    drawn = [members[i][0][2] for i in wanted]
    for epoch, begin in enumerate(range(0, len(drawn), len(rows))):
        part = drawn[begin:begin + len(rows)]
        is_whole = len(part) == len(rows)
        left = collections.Counter(rows)
        left.subtract(part)
        wrong = [p for p, n in left.items() if n < 0 or (is_whole and n > 0)]
        if wrong:
            problems.append(f"epoch {epoch}: not once each: {wrong[:5]}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    for name in ("steps", "prompts", "group"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    problems = problems_of(arguments.run, arguments.data, arguments.steps, arguments.prompts,
                           arguments.group)
    for problem in problems[:10]:
        print(problem)
    if not problems:
        n = arguments.steps * arguments.prompts
        print(f"{n} ids, each trained once, in the order of the data")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
