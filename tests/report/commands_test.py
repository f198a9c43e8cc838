#!/usr/bin/env python3
"""`orrery report`, `watch`, `plot` and `compare` on made runs, and on what is no run.

    commands_test.py --program build/dev/orrery
"""
import fcntl
import pathlib
import pty
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import made_run

PROGRAM = sys.argv[sys.argv.index("--program") + 1] if "--program" in sys.argv else "build/dev/orrery"


def orrery(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


class WithRuns(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def make(self, name="run", **options):
        return made_run.make_run(self.path / name, **{"steps": 20, **options})


class Report(WithRuns):
    def test_a_report_of_nothing_is_refused_and_leaves_the_page_that_is_there(self):
        run = self.path / "empty"
        run.mkdir()
        (run / "config.cfg").write_text("[experiment]\nname = empty\n")
        page = self.path / "page.html"
        page.write_text("earlier")
        result = orrery("report", run, "--out", page)
        self.assertEqual(result.returncode, 2)
        self.assertIn("nothing to report", result.stderr)
        self.assertEqual(page.read_text(), "earlier")

    def test_what_is_no_run_is_named(self):
        for path in (self.path, self.path / "missing", pathlib.Path(__file__)):
            result = orrery("report", path, "--out", self.path / "page.html")
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(str(path), result.stderr)

    def test_wrong_options_are_named(self):
        run = self.make()
        for options, text in ((["--samples", "9-3"], "first step is after"), (["--samples", "x"], "STEP"), (["--out", "page.pdf"], ".html"),
                              (["--every", "0"], "--every"), (["--sample", "3"], "--samples")):
            result = orrery("report", run, *options)
            self.assertEqual(result.returncode, 2)
            self.assertIn(text, result.stderr)

    def test_a_folder_that_cannot_be_written_is_named(self):
        result = orrery("report", self.make(), "--out", self.path / "missing" / "page.html")
        self.assertEqual(result.returncode, 5)
        self.assertIn("missing/page.html", result.stderr)

    def test_steps_without_samples_are_named(self):
        result = orrery("report", self.make(), "--out", self.path / "page.html", "--samples", "90-99")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no recorded answers of steps 90-99", result.stderr)

    def test_follow_writes_anew_until_the_run_ends(self):
        run = self.make(steps=3)
        page = self.path / "page.html"
        with (run / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            follower = subprocess.Popen([PROGRAM, "report", str(run), "--out", str(page), "--follow", "--every", "1"], stdout=subprocess.DEVNULL)
            while not page.exists():
                time.sleep(0.1)
            self.assertIn('"refresh":1', page.read_text())
            with (run / "metrics.jsonl").open("a") as out:
                out.write(made_run.line(4, None, {"added_later": 1}))
            while "added_later" not in page.read_text():
                time.sleep(0.1)
            self.assertIsNone(follower.poll())
        self.assertEqual(follower.wait(20), 0)
        self.assertIn('"refresh":0', page.read_text())


class Watch(WithRuns):
    def test_prints_one_picture_where_the_output_is_no_terminal(self):
        result = orrery("watch", self.make())
        self.assertEqual(result.returncode, 0)
        for text in ("exit code 0 (done), step 20 of 4", "eval/accuracy", "actor_gen", "worker 0 on node", "latest answers, step 20"):
            self.assertIn(text, result.stdout)

    def test_no_control_character_of_an_answer_reaches_the_terminal(self):
        result = orrery("watch", self.make(steps=3, per_step=1))
        self.assertIn("[2J", result.stdout)
        self.assertNotIn("\x1b", result.stdout)

    def test_draws_on_a_terminal_until_the_run_ends(self):
        run = self.make()
        master, slave = pty.openpty()
        drawn = bytearray()

        def read():
            while True:
                try:
                    part = __import__("os").read(master, 65536)
                except OSError:
                    return
                if not part:
                    return
                drawn.extend(part)
        with (run / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            watcher = subprocess.Popen([PROGRAM, "watch", str(run), "--every", "0.2"], stdout=slave)
            threading.Thread(target=read, daemon=True).start()
            while drawn.count(b"\x1b[H") < 3:
                time.sleep(0.05)
        self.assertEqual(watcher.wait(20), 0)
        self.assertIn("goes on".encode(), drawn)
        self.assertIn("exit code 0".encode(), drawn)


class Plot(WithRuns):
    def test_draws_runs_over_each_other_as_svg(self):
        a, b = self.make("a"), self.make("b", seed=2)
        result = orrery("plot", a, b, "reward/reward", "eval/accuracy", "--out", self.path / "x.svg", "--smoothing", "0.5")
        self.assertEqual(result.returncode, 0, result.stderr)
        text = (self.path / "x.svg").read_text()
        self.assertEqual(text.count('class="curve"'), 4)

    def test_an_unknown_metric_is_named_with_the_nearest(self):
        result = orrery("plot", self.make(), "reward/rewerd")
        self.assertEqual(result.returncode, 2)
        self.assertIn("did you mean 'reward/reward'?", result.stderr)

    def test_lists_the_names(self):
        self.assertIn("actor_train/loss\n", orrery("plot", self.make(), "--list").stdout)

    def test_png_needs_a_program_and_says_which(self):
        result = orrery("plot", self.make(), "--out", self.path / "x.png")
        if result.returncode == 0:
            self.assertTrue((self.path / "x.png").read_bytes().startswith(b"\x89PNG"))
        else:
            self.assertIn("librsvg2-bin", result.stderr)
        self.assertEqual([path.name for path in self.path.glob("x.png*")], ["x.png"] if result.returncode == 0 else [])


class Compare(WithRuns):
    def test_says_what_differs_and_from_which_step(self):
        a, b = self.make("a"), self.make("b", lr="2e-3")
        lines = (b / "metrics.jsonl").read_text().replace('"actor_train/lr"', '"actor_train/rate"').split("\n")
        changed = [line.replace('"samples": 8', '"samples": 9') if '"step": 7,' in line else line for line in lines]
        (b / "metrics.jsonl").write_text("\n".join(changed))
        result = orrery("compare", a, b)
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"model\.actor\.lr +1e-3 +2e-3")
        self.assertRegex(result.stdout, r"samples +7 +8 +9 +8 +8")
        self.assertIn("only in a: actor_train/lr", result.stdout)
        self.assertIn("last evaluations", result.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
