#!/usr/bin/env python3
"""Large data sets: how long the index takes, and how much memory each rank needs while it trains.

    tools/bench_datasets.py [--records 2000000] [--steps 20] [--program build/bench/orrery]

Writes records of additions as JSON lines, and the same as a pre-tokenized dataset, and trains a tiny model on
each with a master and two workers. `small` is the same with 1,000 records: what the program needs for
itself. Peak memory is that of the whole process (ru_maxrss).
cost: about 3 minutes and 0.7 GB of disk; needs: mpirun; pip install tokenizers h5py for the file of
tokens, which is left out with a message where they are missing
"""
import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = """include = {root}/configs/graphs/sft.cfg
[experiment]
name = {name}
output_dir = {folder}
total_steps = {steps}
[dataset.train]
path = {data}
kind = completions
[model.actor]
tokenizer = {tokenizer}
vocab_size = 1002
hidden_size = 32
intermediate_size = 64
n_layers = 1
n_heads = 2
n_kv_heads = 1
max_positions = 128
[call.sft]
n_seqs = 256
[checkpoint]
every_seconds = 0
[export]
at_end = false
"""


def rank(command):
    """Of mpirun's: runs the program and says how much memory it needed."""
    status = subprocess.run(command).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak of rank {os.environ['OMPI_COMM_WORLD_RANK']}: {peak:.0f} MiB", flush=True)
    sys.exit(status)


def write_records(path, n):
    with open(path, "w") as file:
        for i in range(n):
            a, b = i * 7919 % 10007, i * 104729 % 100003
            file.write(json.dumps({"id": f"add-{i:07}", "prompt": f"What is {a} + {b}? Think step by step.",
                                   "completion": f"{a} + {b} = {a + b}"}) + "\n")


def train(program, folder, name, data, tokenizer, steps):
    config = folder / f"{name}.cfg"
    config.write_text(CONFIG.format(root=ROOT, folder=folder, name=name, data=data, tokenizer=tokenizer, steps=steps))
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    began = time.monotonic()
    result = subprocess.run(["mpirun", "--oversubscribe", "-n", "3", sys.executable, __file__, "--rank", program, "train",
                             config], env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    said = result.stdout + result.stderr
    peaks = dict(re.findall(r"peak of rank (\d): (\d+) MiB", said))
    index = re.search(r"data set train: .*", said)
    size = data.stat().st_size / 2**20
    print(f"| {name} | {size:.0f} MiB | {index.group(0) if index else 'index below 1 s'} | {seconds:.1f} s in all | "
          + " / ".join(f"{peaks[str(i)]} MiB" for i in range(3)) + " |", flush=True)


def main():
    if sys.argv[1:2] == ["--rank"]:
        rank(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/bench/orrery")
    args = parser.parse_args()
    program = args.program.resolve()
    if not program.exists():
        sys.exit(f"bench_datasets.py: {program} is not there: cmake --preset bench && cmake --build build/bench --target orrery")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir()
        (tokenizer / "tokenizer.json").write_bytes((ROOT / "tests/fixtures/tokenizer/tokenizer.json").read_bytes())
        (tokenizer / "tokenizer_config.json").write_text('{"eos_token": "<|eos|>"}')
        for label, n in (("small", 1000), ("large", args.records)):
            data = folder / f"{label}.jsonl"
            write_records(data, n)
            train(program, folder, f"{label}, JSON lines", data, tokenizer, args.steps)
            tokens = folder / f"{label}.h5"
            began = time.monotonic()
            made = subprocess.run([sys.executable, ROOT / "tools/tokenize.py", "--quiet", "--tokenizer", tokenizer, "--kind",
                                   "completions", data, tokens], capture_output=True, text=True)
            if made.returncode != 0:
                print(f"bench_datasets.py: no pre-tokenized dataset: {made.stderr.strip()}")
                continue
            print(f"  tokenize.py: {time.monotonic() - began:.1f} s")
            train(program, folder, f"{label}, tokens", tokens, "auto", args.steps)


if __name__ == "__main__":
    main()
