"""tools/sweep.py runs all combinations, goes on where it stopped, and tells means and deviations."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tools"))
import sweep  # noqa: E402  (the path comes first)

# Stands for the program: refuses keys with "wrong", and writes a run as train does.
PROGRAM = """#!/usr/bin/env python3
import json, pathlib, sys
values = dict(argument.split("=", 1) for argument in sys.argv if "=" in argument)
if sys.argv[1] == "plan":
    if "--no-data" in sys.argv or int(sys.argv[sys.argv.index("--workers") + 1]) > 4:
        sys.exit("orrery: 5 workers are too many")
    for key in values:
        if "wrong" in key:
            sys.exit(f"orrery: --set: unknown key '{key}'")
    sys.exit(0)
run = pathlib.Path(values["experiment.output_dir"]) / values["experiment.name"]
(run.parent / "started").open("a").write(run.name + "\\n")
if pathlib.Path(run.parent / "stop").exists():
    sys.exit(85)
if values.get("a.b") == "broken":
    sys.exit(3)
run.mkdir(exist_ok=True)
accuracy = float(values["a.b"]) + int(values["experiment.seed"])
(run / "metrics.jsonl").write_text(json.dumps({"step": 4, "metrics": {"eval/accuracy": accuracy}}) + "\\n")
(run / "log.txt").write_text("2026-01-02T03:04:05.678 info exit code 0 (done)\\n")
"""
MPIRUN = '#!/usr/bin/env bash\nshift 3\nexec "$@"\n'


class Sweeps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        for name, text in (("orrery", PROGRAM), ("mpirun", MPIRUN)):
            (self.path / name).write_text(text)
            (self.path / name).chmod(0o755)
        (self.path / "x.cfg").write_text("")
        self.sweep = self.path / "out" / "sweep-x"

    def run_sweep(self, *arguments):
        environment = dict(os.environ, PATH=f"{self.path}:{os.environ['PATH']}")
        return subprocess.run([sys.executable, "-B", REPOSITORY / "tools/sweep.py", self.path / "x.cfg", "--program", self.path / "orrery",
                               "--output", self.path / "out", *arguments], capture_output=True, text=True, env=environment)

    def started(self):
        return (self.sweep / "started").read_text().split() if (self.sweep / "started").exists() else []

    def test_runs_all_combinations_and_tells_mean_and_deviation(self):
        result = self.run_sweep("--grid", "a.b=1,10", "--seeds", "1,2,3")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.started()), 6)
        self.assertRegex(result.stdout, r"a\.b +runs +eval/accuracy +deviation\n1 +3 of 3 +3 +1\n10 +3 of 3 +12 +1\n")
        self.assertEqual(len((self.sweep / "results.csv").read_text().split()), 1 + 6 + 1)  # "exit code" has a space

    def test_a_key_that_does_not_exist_is_named_before_anything_starts(self):
        result = self.run_sweep("--grid", "a.wrong=1,2")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("unknown key 'a.wrong'", result.stderr)
        self.assertIn("nothing was started", result.stderr)
        self.assertEqual(self.started(), [])
        self.assertFalse(self.sweep.exists())

    def test_goes_on_and_skips_what_is_done(self):
        self.run_sweep("--grid", "a.b=1")
        self.run_sweep("--grid", "a.b=1,2")
        self.assertEqual(self.started(), ["b-1_seed-1", "b-2_seed-1"])

    def test_a_run_that_stopped_on_purpose_stops_the_sweep(self):
        self.sweep.mkdir(parents=True)
        (self.sweep / "stop").write_text("")
        result = self.run_sweep("--grid", "a.b=1,2")
        self.assertIn("the same command goes on", result.stderr)
        self.assertEqual(self.started(), ["b-1_seed-1"])

    def test_a_run_that_fails_does_not_stop_the_others(self):
        result = self.run_sweep("--grid", "a.b=broken,2")
        self.assertEqual(result.returncode, 1)
        self.assertIn("1 of 2 runs failed: b-broken_seed-1", result.stderr)
        self.assertRegex(result.stdout, r"broken +0 of 1 +- +-\n2 +1 of 1 +3 +-\n")

    def test_another_configuration_under_the_same_name_is_refused(self):
        self.run_sweep("--grid", "a.b=1")
        result = self.run_sweep("--grid", "a.b=1", "--set", "c.d=3")
        self.assertIn("choose another --name", result.stderr)

    def test_runs_of_another_configuration_are_not_taken_for_done(self):
        (self.path / "x.cfg").write_text("include = y.cfg  # the rest\n")
        (self.path / "y.cfg").write_text("[a]\nc = 1\n")
        self.run_sweep("--grid", "a.b=1")
        (self.path / "y.cfg").write_text("# a comment alone changes nothing\n[a]\nc = 1\n")
        self.assertIn("done before", self.run_sweep("--grid", "a.b=1").stdout)
        (self.path / "y.cfg").write_text("[a]\nc = 2\n")
        self.assertIn("is not what b-1_seed-1 ran with (c = 1, c = 2): choose another --name", self.run_sweep("--grid", "a.b=1").stderr)

    def test_a_configuration_may_be_mended_until_a_run_is_done(self):
        self.run_sweep("--grid", "a.b=broken")
        (self.path / "x.cfg").write_text("[a]\nc = 2\n")
        self.assertIn("runs failed", self.run_sweep("--grid", "a.b=broken").stderr)

    def test_a_grid_of_other_keys_is_refused_and_nothing_is_lost(self):
        self.run_sweep("--grid", "a.b=1")
        before = (self.sweep / "sweep.json").read_text()
        result = self.run_sweep("--grid", "a.b=1", "--grid", "c.d=1,2")
        self.assertIn("is a sweep over a.b, and one table is of one grid: choose another --name", result.stderr)
        self.assertEqual((self.sweep / "sweep.json").read_text(), before)

    def test_points_are_checked_with_the_workers_that_they_run_with(self):
        self.assertIn("nothing was started", self.run_sweep("--grid", "a.b=1", "--workers", "5").stderr)
        result = self.run_sweep("--grid", "a.b=1", "--slurm", REPOSITORY / "slurm/cpu_one_node.sbatch")
        self.assertIn("5 workers are too many", result.stderr)

    def test_wrong_grids_and_seeds_are_named(self):
        for arguments, text in ((["--grid", "a.b"], "KEY=VALUE"), (["--grid", "a.b=1", "--grid", "a.b=2"], "given twice"),
                                (["--grid", "experiment.seed=1"], "--seeds"), (["--set", "experiment.seed=1"], "--seeds"),
                                (["--grid", "experiment.name=a,b"], "--name"), (["--grid", "experiment.output_dir=a,b"], "--output"), (["--seeds", "one"], "must be numbers"),
                                (["--grid", "a.b=1,1"], "each value once")):
            result = self.run_sweep(*arguments)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)

    def test_a_job_array_gives_each_task_its_point(self):
        result = self.run_sweep("--grid", "a.b=1,2", "--set", "c.d=two words", "--seeds", "1,2", "--slurm", REPOSITORY / "slurm/cpu_one_node.sbatch", "--workers", "4")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.started(), [])
        script = (self.sweep / "sweep.sbatch").read_text()
        self.assertIn("#SBATCH --array=0-3", script)
        self.assertIn("#SBATCH --ntasks=5", script)
        self.assertIn("%A_%a.out", script)
        # What a task runs, with srun left out.
        text = script.replace("exec slurm/run_and_requeue.sh", "exec").replace("srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores", "")
        environment = dict(os.environ, SLURM_SUBMIT_DIR=str(REPOSITORY), SLURM_ARRAY_TASK_ID="2")
        subprocess.run(["bash", "-c", text], env=environment, check=True)
        self.assertEqual(self.started(), ["b-2_seed-1"])

    def test_damaged_metrics_are_named_and_left_out(self):
        self.run_sweep("--grid", "a.b=1")
        with (self.sweep / "b-1_seed-1" / "metrics.jsonl").open("a") as out:
            out.write('{"step": 5, "metr\n{"step": 6, "unfin')
        result = subprocess.run([sys.executable, "-B", REPOSITORY / "tools/sweep.py", "--table", self.sweep], capture_output=True, text=True)
        self.assertIn("metrics.jsonl:2: damaged", result.stderr)
        self.assertRegex(result.stdout, r"1 +1 of 1 +2 +-\n")


class Numbers(unittest.TestCase):
    def test_the_deviation_is_that_of_a_sample(self):
        self.assertEqual(sweep.mean_and_deviation([1.0, 3.0]), (2.0, 2.0 ** 0.5))


if __name__ == "__main__":
    unittest.main()
