#!/usr/bin/env python3
"""Reads an event file of ours with TensorBoard's own reader and compares every scalar.

usage: check_tensorboard.py WRITER
  WRITER  the program write_scalar_events, which is given an empty folder to write to

Exit codes: 0 equal, 1 different, 77 not checked because the package tensorboard is not installed
(pip install tensorboard). Needs no network and a second or two.
"""
import subprocess
import sys
import tempfile

SKIPPED = 77


def main() -> int:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        print(f"SKIPPED: TensorBoard's reader did not check our event files: {error}",
              file=sys.stderr)
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        events = EventAccumulator(folder)
        events.Reload()
        got = {tag: [(e.step, e.value) for e in events.Scalars(tag)]
               for tag in events.Tags()["scalars"]}
    # float32 of 1 / (step + 1), exact for the powers of two
    wanted = {"actor_train/loss": [(s, 1.0 / (s + 1)) for s in range(5)],
              "eval/accuracy": [(s, s * 0.125) for s in range(5)]}
    if sorted(got) != sorted(wanted):
        print(f"tags: expected {sorted(wanted)}, got {sorted(got)}", file=sys.stderr)
        return 1
    for tag, values in wanted.items():
        for (step, value), (got_step, got_value) in zip(values, got[tag], strict=True):
            if step != got_step or abs(value - got_value) > 1e-7:
                print(f"{tag}: expected {value} at step {step}, got {got_value} at {got_step}",
                      file=sys.stderr)
                return 1
    print("TensorBoard reads the same scalars: " + ", ".join(sorted(got)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
