#!/usr/bin/env python3
"""Whole jobs on a GPU, started as anybody starts them: configs/grpo_tiny.cfg beside the same on the CPU, an
interrupted run beside one that nothing stopped, and the time of a GRPO step.

    tools/gpu_check/job.py --program build/cuda/orrery --configs configs --out FILE [--seconds 120] [--patience 200]
        [--mpirun mpirun] [--sizes full|small]

--seconds: what would begin later is left out; --patience: what still runs then is ended, and has failed
--sizes small: on a simulated GPU the step that is timed is the miniature's too
"""
import argparse
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = "grpo_tiny"
STEPS = 4
# Sums in another order; in fp32 of one step, before an optimizer has magnified what differs.
ALLOWED = {"fp64": 1e-8, "fp32": 1e-4}
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PMIX_MCA_psec": "native", "OMPI_MCA_mpi_yield_when_idle": "1"}
# A step of GRPO at the sizes of a real model, with weights and answers of no meaning.
STEP = {"model": "qwen2.5-0.5b", "prompts": 16, "group": 8, "new_tokens": 256, "type": "bf16"}
STEP_CONFIG = """include = {configs}/grpo_tiny.cfg
include = {configs}/recipes/sizes/qwen2.5_0.5b/actor.cfg

[experiment]
prompts_per_step = {prompts}
total_steps = 3

[model.actor]
dtype = {type}
max_positions = 512

[call.actor_gen]
group_size = {group}
min_new_tokens = {new_tokens}
max_new_tokens = {new_tokens}

[call.actor_train]
max_tokens_per_micro_batch = 8192

[evaluate]
every_steps = 0

[export]
at_end = false

[checkpoint]
every_seconds = 0
"""


class Failed(Exception):
    """What is wrong, in one line."""


class Jobs:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.last_moment = time.monotonic() + options.patience

    def train(self, name, device, *settings, config=None):
        """The run directory of a master and one worker."""
        settings = [f"experiment.output_dir={self.folder / name}", f"experiment.device={device}", *settings]
        words = [self.options.mpirun, "--oversubscribe", "--bind-to", "none", "-n", "2", self.options.program, "train",
                 config or self.options.configs / f"{CONFIG}.cfg", *(word for s in settings for word in ("--set", s))]
        # A session of its own, so that no rank is left behind.
        with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", env=ENVIRONMENT, start_new_session=True) as process:
            try:
                said, _ = process.communicate(timeout=max(self.last_moment - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                time.sleep(2)
                os.killpg(process.pid, signal.SIGKILL)
                raise Failed(f"the run {name} did not end in time") from None
        if process.returncode != 0 or "broken rule" in said:
            print(said, file=sys.stderr)
            lines = [line for line in said.splitlines() if "error" in line.lower() or "broken rule" in line]
            raise Failed(f"the run {name} ended with exit code {process.returncode}: {(lines or ['no word of why'])[0]}")
        return self.folder / name / CONFIG


def metrics(run):
    """{(step, call, name): number} of those that do not depend on the machine."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["metrics"].items():
            if not name.startswith(("time/", "memory/")) and not name.endswith("_per_second"):
                found[record["step"], record["call"], name] = value
    return found


def difference(got, expected):
    """The largest |got - expected| / (1 + |expected|); NaN where a number is none."""
    if got.keys() != expected.keys() or not expected:
        raise Failed(f"metrics of the two runs are not the same: {sorted(map(str, got.keys() ^ expected.keys()))[:3]}")
    differences = [0.0]
    for key, value in expected.items():
        if (value is None) != (got[key] is None):
            raise Failed(f"{key} is {got[key]} in one run and {value} in the other")
        if value is not None:
            differences.append(abs(got[key] - value) / (1 + abs(value)))
    return math.nan if any(map(math.isnan, differences)) else max(differences)


def same_as_cpu(jobs, dtype, steps):
    """Metrics of the first steps on the GPU against the CPU's."""
    runs = [jobs.train(f"{dtype}-{device}", device, f"model.actor.dtype={dtype}") for device in ("cuda", "cpu")]
    got, expected = ({key: value for key, value in metrics(run).items() if key[0] <= steps} for run in runs)
    return {"difference": difference(got, expected), "allowed_difference": ALLOWED[dtype]}


def resumed(jobs):
    """A run that stops after a checkpoint and goes on is the run that nothing stopped, bit for bit."""
    more = ["checkpoint.every_steps=2"]
    whole = jobs.train("whole", "cuda", *more)
    jobs.train("parts", "cuda", *more, f"experiment.total_steps={STEPS // 2}")
    parts = jobs.train("parts", "cuda", *more)
    model = "models/latest/actor/model.safetensors"
    if (whole / model).read_bytes() != (parts / model).read_bytes():
        raise Failed("the weights of the resumed run are others")
    return {"difference": difference(metrics(parts), metrics(whole)), "allowed_difference": 0}


def grpo_step(jobs):
    """Seconds of a step, the first left out."""
    config = None
    if jobs.options.sizes == "full":
        config = jobs.folder / "step.cfg"
        config.write_text(STEP_CONFIG.format(configs=jobs.options.configs.resolve(), **STEP))
    run = jobs.train("step", "cuda", config=config)
    times = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "time/step" in record["metrics"]:
            times[record["step"]] = record["metrics"]["time/step"]
    return {"unit": "s", "value": statistics.median(times[step] for step in sorted(times)[1:])}


def take(figure, work):
    try:
        figure |= work()
    except Failed as error:
        return {**figure, "outcome": "failed", "why": str(error)}
    got = figure.get("difference", 0)
    if math.isfinite(got) and got <= figure.get("allowed_difference", 0):
        return {**figure, "outcome": "passed"}
    return {**figure, "outcome": "failed", "why": f"differs by {got:.3g}, allowed are {figure['allowed_difference']:g}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--configs", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--patience", type=float)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--sizes", choices=("full", "small"), default="full")
    options = parser.parse_args()
    options.program = options.program.resolve()
    if options.patience is None:
        options.patience = 1.5 * options.seconds + 20  # a little less than that of parts.py
    end = time.monotonic() + options.seconds
    tiny = {"config": CONFIG}
    step = tiny if options.sizes == "small" else STEP
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(options, pathlib.Path(folder))
        for name, shape, work in (
                ("job_beside_cpu", {**tiny, "steps": STEPS, "type": "fp64"}, lambda: same_as_cpu(jobs, "fp64", STEPS)),
                ("job_beside_cpu", {**tiny, "steps": 1, "type": "fp32"}, lambda: same_as_cpu(jobs, "fp32", 1)),
                ("job_resumed", {**tiny, "steps": STEPS, "type": "fp32"}, lambda: resumed(jobs)),
                ("grpo_step", step, lambda: grpo_step(jobs))):
            figure = {"name": name, "shape": shape}
            if time.monotonic() > end:
                figures.append({**figure, "outcome": "skipped",
                                "why": f"cut: the {options.seconds:g} seconds of this part are over"})
            else:
                figures.append(take(figure, work))
            options.out.write_text(json.dumps({"figures": figures}, indent=1) + "\n")
    return 1 if any(figure["outcome"] == "failed" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
