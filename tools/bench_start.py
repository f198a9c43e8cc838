#!/usr/bin/env python3
"""How long a job takes from its start to its first step, new and after a resume, and where it goes.

  tools/bench_start.py [PROGRAM] [CONFIG] [TRAIN OPTION...]
  default: build/release/orrery configs/ppo_tiny.cfg

Runs `mpirun -n 3 PROGRAM train CONFIG` for a few steps, each start five times, and prints medians of
  agreed   the job is checked, data and checkpoint too, and the run directory is open
  step     the first step is written down
with `mpirun true`, and `PROGRAM --help` of one process, beside them: what no program of ours can save.

cost: half a minute on 2 cores; an otherwise idle machine
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   PMIX_MCA_psec="native", OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1")
MPIRUN = ["mpirun", "--oversubscribe", "-n", "3"]


def seconds_of(command):
    begin = time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def start(command, run):
    """Seconds to `agreed` and `step` of a start."""
    log, metrics = run / "log.txt", run / "metrics.jsonl"
    before = size_of(log), size_of(metrics)
    times = [0.0, 0.0]
    begin = time.monotonic()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    while process.poll() is None:
        now = time.monotonic() - begin
        if not times[0] and size_of(log) > before[0]:
            times[0] = now
        if not times[1] and size_of(metrics) > before[1]:
            times[1] = now
        time.sleep(0.001)
    if process.returncode != 0 or not all(times):
        sys.exit(process.stdout.read().decode())
    return times


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/release/orrery"
    config = sys.argv[2] if len(sys.argv) > 2 else "configs/ppo_tiny.cfg"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="orrery-start-"))
    run = folder / "run"
    command = MPIRUN + [program, "train", config, "--set", f"experiment.output_dir={folder}", "--set",
                        "experiment.name=run", "--set", "checkpoint.every_steps=1", "--set",
                        "evaluate.every_steps=0", "--set", "evaluate.at_start=false", "--set",
                        "evaluate.at_end=false", *sys.argv[3:]]
    rows = {"mpirun true": [[seconds_of(MPIRUN + ["true"])] for _ in range(ROUNDS)],
            "--help": [[seconds_of([program, "train", "--help"])] for _ in range(ROUNDS)],
            "new": [], "resume": []}
    try:
        for _ in range(ROUNDS):
            shutil.rmtree(run, ignore_errors=True)
            for kind, steps in (("new", 1), ("resume", 2)):
                rows[kind].append(start(command + ["--set", f"experiment.total_steps={steps}"], run))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, times in rows.items():
        medians = [statistics.median(column) for column in zip(*times)]
        names = ("agreed", "step") if len(medians) == 2 else ("all",)
        print(f"{kind:12}" + "".join(f" {name} {seconds:.2f} s"
                                     for name, seconds in zip(names, medians)))


if __name__ == "__main__":
    main()
