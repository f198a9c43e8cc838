#!/usr/bin/env python3
"""Makes the data of the main job: all additions of two numbers below 100, split at random.

    tools/make_addition.py [FOLDER]       default: configs/data; same seed, same bytes

Writes addition_train.jsonl (8,000 problems) and addition_eval.jsonl (1,000 others). The digits of
an answer are written lowest first ("19+23=" -> "24"): the order in which they can be computed.
"""
import json
import pathlib
import random
import sys

SEED, TRAIN, EVAL = 20, 8000, 1000


def record(a, b):
    """One line; `completion` is what SFT learns, `answer` what a reward compares with."""
    answer = str(a + b)[::-1]
    return json.dumps({"id": f"add-{a}-{b}", "prompt": f"{a}+{b}=", "answer": answer,
                       "completion": answer})


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "configs/data")
    pairs = [(a, b) for a in range(100) for b in range(100)]
    random.Random(SEED).shuffle(pairs)
    for name, part in (("train", pairs[:TRAIN]), ("eval", pairs[TRAIN:TRAIN + EVAL])):
        path = folder / f"addition_{name}.jsonl"
        path.write_text("".join(record(a, b) + "\n" for a, b in part))
        print(f"{path}: {len(part)} problems")


if __name__ == "__main__":
    main()
