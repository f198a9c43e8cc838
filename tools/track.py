#!/usr/bin/env python3
"""Sends the metrics of a run to an experiment tracker: Weights & Biases, MLflow or SwanLab.

    tools/track.py RUN --to wandb|mlflow|swanlab [--project NAME] [--name NAME] [--offline] [--once]

RUN is a run directory, while the job writes it or afterwards. It is followed until the run has ended or was
killed; --once sends what is there. Each step is sent once: RUN/track-TRACKER.json says how far it came, so that the command
can be started again at any time. The job itself knows nothing of it.

needs: Python 3 and the tracker's package (pip install wandb, mlflow or swanlab)
--offline: wandb and swanlab keep everything on disk for their own `sync`; mlflow writes to RUN/mlruns
"""
import argparse
import fcntl
import hashlib
import importlib
import json
import math
import os
import pathlib
import re
import sys
import time


def fail(text):
    sys.exit(f"track.py: {text}")


def read_config(path):
    """`section.key` -> value of a resolved config.cfg."""
    values, section = {}, ""
    if not path.is_file():
        return values
    for line in path.read_text(errors="replace").split("\n"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;" and "=" in line:
            key, _, value = line.partition("=")
            values[f"{section}.{key.strip()}" if section else key.strip()] = value.strip()
    return values


def is_held(run):
    """Whether a job has the run directory; None: the file system has no locks that would tell."""
    try:
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None


def state_of(run):
    """running, ended (the log's last words are an exit code) or killed: no job has the directory, and nothing says why."""
    held = is_held(run)
    if held:
        return "running"
    log = run / "log.txt"
    lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()] if log.is_file() else []
    if lines and re.search(r"exit code \d+ \(", lines[-1]):
        return "ended"
    return "running" if held is None else "killed"


class Metrics:
    """The steps of a metrics.jsonl that are whole: a later one has begun, or no job writes any more."""

    def __init__(self, path):
        self.path, self.offset, self.inode, self.line = path, 0, None, 0
        self.steps, self.times = {}, {}

    def read_on(self):
        if not self.path.is_file():
            return
        status = self.path.stat()
        if status.st_ino != self.inode or status.st_size < self.offset:  # a resumed run cut it back
            self.offset, self.inode, self.line = 0, status.st_ino, 0
            self.steps, self.times = {}, {}
        with self.path.open("rb") as lines:
            lines.seek(self.offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # still being written
                self.offset += len(line)
                self.line += 1
                self.add(line)

    def add(self, line):
        if not line.strip():
            return
        try:
            row = json.loads(line)
            step = int(row["step"])
            numbers = {name: math.nan if value is None else float(value) for name, value in row["metrics"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"track.py: {self.path}:{self.line}: damaged, left out ({error})", file=sys.stderr)
            return
        self.steps.setdefault(step, {}).update(numbers)
        self.times[step] = float(row.get("time_s") or 0)

    def take(self, after, with_last):
        """[(step, seconds, numbers)] of the whole steps after that one, ascending."""
        known = sorted(self.steps)
        return [(step, self.times[step], self.steps[step]) for step in (known if with_last else known[:-1]) if step > after]


class State:
    """How far a run was sent. Written before and after each step, so that a kill between them is seen."""

    def __init__(self, path, run):
        self.path = path
        fresh = {"id": hashlib.sha256(f"{run.absolute()} {time.time_ns()}".encode()).hexdigest()[:16], "sent": -1, "sending": None}
        try:
            self.values = {**fresh, **json.loads(path.read_text())} if path.is_file() else fresh
        except ValueError:
            fail(f"{path} is damaged; remove it to send everything once more, as a new run of the tracker")

    def save(self, **changes):
        self.values.update(changes)
        partial = self.path.with_suffix(".partial")
        with partial.open("w") as out:
            json.dump(self.values, out)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(self.path)


class Wandb:
    package = "wandb"

    def __init__(self, module, options, state, config):
        self.run = module.init(project=options.project, name=options.name, id=state.values["id"], resume="allow", config=config,
                               mode="offline" if options.offline else "online", dir=str(options.run))

    def last_step(self):
        """The tracker refuses steps before its last one, and joins what is sent twice for that one."""
        return (self.run.step or 0) - 1

    def send(self, step, seconds, numbers):
        self.run.log({**numbers, "time_s": seconds}, step=step)

    def finish(self, ended):
        self.run.finish()


class Mlflow:
    package = "mlflow"

    def __init__(self, module, options, state, config):
        if options.offline:
            # Newer versions keep plain folders only where that is asked for.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            module.set_tracking_uri((options.run / "mlruns").absolute().as_uri())
        self.client = module.MlflowClient() if hasattr(module, "MlflowClient") else module.tracking.MlflowClient()
        self.entities = importlib.import_module("mlflow.entities")
        self.id = state.values.get("mlflow_run")
        if self.id is None:
            found = self.client.get_experiment_by_name(options.project)
            experiment = found.experiment_id if found else self.client.create_experiment(options.project)
            self.id = self.client.create_run(experiment, run_name=options.name).info.run_id
            state.save(mlflow_run=self.id)
            for key, value in config.items():
                self.client.log_param(self.id, self.allowed(key), value[:500] or "(empty)")
        self.begin = int(1000 * (options.run / "config.cfg").stat().st_mtime) if (options.run / "config.cfg").is_file() else 0

    @staticmethod
    def allowed(name):
        return re.sub(r"[^A-Za-z0-9_./: -]", "_", name)

    def last_step(self):
        history = self.client.get_metric_history(self.id, "time_s")
        return max((point.step for point in history), default=-1)

    def send(self, step, seconds, numbers):
        """The mark of a whole step, time_s, goes last."""
        stamp = self.begin + int(1000 * seconds)
        metrics = [self.entities.Metric(self.allowed(name), value, stamp, step) for name, value in [*numbers.items(), ("time_s", seconds)]]
        for start in range(0, len(metrics), 500):  # of one request the server takes 1,000
            self.client.log_batch(self.id, metrics=metrics[start:start + 500])

    def finish(self, ended):
        if ended:
            self.client.set_terminated(self.id)


class Swanlab:
    package = "swanlab"

    def __init__(self, module, options, state, config):
        self.module = module
        self.run = module.init(project=options.project, experiment_name=options.name, config=config, id=state.values["id"], resume="allow",
                               mode="offline" if options.offline else "cloud", logdir=str(options.run / "swanlog"))
        self.sent = state.values["sent"]

    def last_step(self):
        """It cannot be asked; it keeps the first value that it gets for a step, so sending again is harmless."""
        return self.sent

    def send(self, step, seconds, numbers):
        self.module.log({**numbers, "time_s": seconds}, step=step)

    def finish(self, ended):
        self.module.finish()


TRACKERS = {"wandb": Wandb, "mlflow": Mlflow, "swanlab": Swanlab}


def send_steps(tracker, state, steps):
    for step, seconds, numbers in steps:
        state.save(sending=step)
        tracker.send(step, seconds, numbers)
        state.save(sent=step, sending=None)


def track(options, module):
    state = State(options.run / f"track-{options.to}.json", options.run)
    tracker = TRACKERS[options.to](module, options, state, read_config(options.run / "config.cfg"))
    if state.values["sending"] is not None:  # killed in the middle of a step: did it arrive?
        state.save(sent=max(state.values["sent"], min(state.values["sending"], tracker.last_step())), sending=None)
    metrics = Metrics(options.run / "metrics.jsonl")
    first = state.values["sent"]
    now = "running"
    try:
        while True:
            now = state_of(options.run)  # asked before reading: what comes after is read next time
            metrics.read_on()
            send_steps(tracker, state, metrics.take(state.values["sent"], now != "running"))
            if now != "running" or options.once:
                break
            time.sleep(options.every)
    except KeyboardInterrupt:
        print("track.py: stopped; the same command goes on", file=sys.stderr)
    finally:
        tracker.finish(now == "ended")
    sent = state.values["sent"]
    print(f"{options.run} -> {options.to}: " + (f"sent up to step {sent}" if sent > first else "nothing new") + {
        "ended": "", "running": "; the run has not ended",
        "killed": "; the run was killed: no job has its directory, and its log has no ending; the same command goes on when it is resumed"}[now])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--to", required=True, choices=sorted(TRACKERS))
    parser.add_argument("--project", default="orrery")
    parser.add_argument("--name", help="of the run; without it the folder's")
    parser.add_argument("--offline", action="store_true", help="keep everything on this disk")
    parser.add_argument("--once", action="store_true", help="send what is there and end")
    parser.add_argument("--every", type=float, default=10, metavar="S", help="seconds between two looks (10)")
    options = parser.parse_args()
    if not options.run.is_dir() or not any((options.run / name).is_file() for name in ("config.cfg", "metrics.jsonl")):
        fail(f"{options.run} is no run directory: there is neither config.cfg nor metrics.jsonl")
    options.name = options.name or options.run.resolve().name
    try:
        module = importlib.import_module(options.to)
    except ImportError as error:
        fail(f"{options.to} is not installed ({error}): pip install {options.to}")
    track(options, module)


if __name__ == "__main__":
    main()
