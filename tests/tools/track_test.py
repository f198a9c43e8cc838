"""tools/track.py sends each step once, whatever happens in between; with stand-ins for the three packages, and
with MLflow itself where it is installed."""
import fcntl
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Each stand-in appends what it is sent to $SENT, and dies at the step $DIE before or after it has kept it.
COMMON = """
import json, math, os
def keep(tracker, run, step, numbers):
    die, when = os.environ.get("DIE", "-1 before").split()
    if step == int(die) and when == "before":
        os._exit(9)
    with open(os.environ["SENT"], "a") as out:
        out.write(json.dumps([tracker, run, step, {name: None if math.isnan(value) else value for name, value in numbers.items()}]) + "\\n")
    if step == int(die):
        os._exit(9)
def steps(run):
    try:
        return [row[2] for row in map(json.loads, open(os.environ["SENT"])) if row[1] == run]
    except FileNotFoundError:
        return []
"""
WANDB = COMMON + """
class Run:
    def __init__(self, id): self.id, self.step = id, max(steps(id), default=-1) + 1
    def log(self, numbers, step): keep("wandb", self.id, step, numbers)
    def finish(self): pass
def init(project, name, id, resume, config, mode, dir):
    assert resume == "allow" and mode == "offline" and config["experiment.seed"] == "7"
    return Run(id)
"""
SWANLAB = COMMON + """
run = None
def init(project, experiment_name, config, id, resume, mode, logdir):
    global run
    run = id
def log(numbers, step): keep("swanlab", run, step, numbers)
def finish(): pass
"""
MLFLOW = COMMON + """
class Thing:
    def __init__(self, **of): self.__dict__.update(of)
def set_tracking_uri(uri): assert uri.endswith("/mlruns")
class MlflowClient:
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "0"
    def create_run(self, experiment, run_name): return Thing(info=Thing(run_id="r1"))
    def log_param(self, run, key, value): assert value
    def get_metric_history(self, run, key): return [Thing(step=step) for step in steps(run)]
    def log_batch(self, run, metrics): keep("mlflow", run, metrics[0].step, {metric.key: metric.value for metric in metrics})
    def set_terminated(self, run): pass
"""
ENTITIES = """
class Metric:
    def __init__(self, key, value, timestamp, step): self.key, self.value, self.timestamp, self.step = key, value, timestamp, step
"""


def line(step, **numbers):
    return json.dumps({"step": step, "time_s": 0.5 * step, "call": None, "metrics": numbers}) + "\n"


class Track(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.run = self.path / "run"
        self.run.mkdir()
        (self.run / "config.cfg").write_text("[experiment]\nname = x\nseed = 7\n")
        modules = self.path / "modules"
        for name, text in (("wandb.py", WANDB), ("swanlab.py", SWANLAB), ("mlflow/__init__.py", MLFLOW), ("mlflow/entities.py", ENTITIES)):
            (modules / name).parent.mkdir(parents=True, exist_ok=True)
            (modules / name).write_text(text)
        self.modules = str(modules)

    def write(self, text):
        with (self.run / "metrics.jsonl").open("a") as out:
            out.write(text)

    def hold(self):
        """As a job has the directory."""
        lock = (self.run / ".lock").open("w")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def end(self):
        (self.run / "log.txt").write_text("2026-01-02T03:04:05.678 info exit code 0 (done)\n")

    def track(self, to, *arguments, die=None):
        environment = dict(os.environ, PYTHONPATH=self.modules, SENT=str(self.path / "sent"))
        if die:
            environment["DIE"] = die
        return subprocess.run([sys.executable, "-B", REPOSITORY / "tools/track.py", self.run, "--to", to, "--offline", *arguments],
                              capture_output=True, text=True, env=environment, timeout=60)

    def sent(self):
        path = self.path / "sent"
        return [json.loads(row) for row in path.read_text().split("\n") if row] if path.exists() else []

    def test_sends_every_step_once_after_the_run(self):
        for to in ("wandb", "mlflow", "swanlab"):
            with self.subTest(to):
                self.setUp()
                self.write(line(0, **{"eval/accuracy": 0.1}) + line(1, loss=2.0) + line(1, other=None) + line(2, loss=1.0))
                self.end()
                for _ in range(2):
                    result = self.track(to)
                    self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual([row[2] for row in self.sent()], [0, 1, 2])
                self.assertEqual(self.sent()[1][3], {"loss": 2.0, "other": None, "time_s": 0.5})
                self.assertIn("nothing new", result.stdout)

    def test_a_run_that_was_killed_is_sent_to_its_last_line(self):
        self.hold().close()
        self.write(line(1, loss=2.0) + line(2, loss=1.0))
        (self.run / "log.txt").write_text("2026-01-02T03:04:05.678 info step 2\n")
        result = self.track("wandb")
        self.assertEqual([row[2] for row in self.sent()], [1, 2])
        self.assertIn("the run was killed", result.stdout)

    def test_a_step_that_is_not_whole_waits(self):
        self.hold()
        self.write(line(1, loss=2.0) + line(2, loss=1.0))
        self.track("wandb", "--once")
        self.assertEqual([row[2] for row in self.sent()], [1])
        self.write(line(2, other=3.0) + line(3, loss=0.5) + '{"step": 4, "met')
        self.track("wandb", "--once")
        self.assertEqual([row[2] for row in self.sent()], [1, 2])
        self.assertEqual(self.sent()[1][3], {"loss": 1.0, "other": 3.0, "time_s": 1.0})

    def test_a_kill_in_the_middle_of_a_step_makes_no_doubles_and_loses_none(self):
        for to in ("wandb", "mlflow"):
            for when in ("before", "after"):
                with self.subTest(to + " " + when):
                    self.setUp()
                    self.write("".join(line(step, loss=float(step)) for step in range(1, 5)))
                    self.end()
                    self.assertEqual(self.track(to, die=f"3 {when}").returncode, 9)
                    self.assertEqual(self.track(to).returncode, 0)
                    self.assertEqual([row[2] for row in self.sent()], [1, 2, 3, 4])

    def test_a_resumed_run_sends_no_step_again(self):
        job = self.hold()
        self.write(line(1, loss=2.0) + line(2, loss=1.0) + line(3, loss=0.9))
        self.track("swanlab", "--once")
        (self.run / "metrics.jsonl").unlink()  # cut back to a checkpoint, then written again
        self.write(line(1, loss=2.0) + line(2, loss=1.0) + line(3, loss=0.9) + line(4, loss=0.8))
        self.end()
        job.close()
        self.track("swanlab")
        self.assertEqual([row[2] for row in self.sent()], [1, 2, 3, 4])

    def test_damaged_lines_are_named_and_the_others_sent(self):
        self.write(line(1, loss=2.0) + "{nonsense\n[1]\n" + line(2, loss=1.0))
        self.end()
        result = self.track("wandb")
        self.assertIn("metrics.jsonl:2: damaged", result.stderr)
        self.assertIn("metrics.jsonl:3: damaged", result.stderr)
        self.assertEqual([row[2] for row in self.sent()], [1, 2])

    def test_what_is_no_run_and_what_is_not_installed_are_named(self):
        result = subprocess.run([sys.executable, REPOSITORY / "tools/track.py", self.path, "--to", "wandb"], capture_output=True, text=True)
        self.assertIn("no run directory", result.stderr)
        (pathlib.Path(self.modules) / "wandb.py").write_text("raise ImportError('none here')")
        self.assertIn("pip install wandb", self.track("wandb").stderr)

    @unittest.skipUnless(importlib.util.find_spec("mlflow"), "mlflow is not installed")
    def test_mlflow_itself_keeps_what_it_is_sent(self):
        self.modules = os.environ.get("PYTHONPATH", "")
        self.write(line(1, **{"loss": 2.0, "odd(name)": 1.0}) + line(2, loss=None))
        self.end()
        for _ in range(2):
            result = self.track("mlflow")
            self.assertEqual(result.returncode, 0, result.stderr)
        values = [path.read_text() for path in (self.run / "mlruns").rglob("metrics/loss")]
        self.assertEqual(len(values), 1)
        self.assertEqual([row.split()[1:] for row in values[0].strip().split("\n")], [["2.0", "1"], ["nan", "2"]])


if __name__ == "__main__":
    unittest.main()
