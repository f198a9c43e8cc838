"""tools/gpu_check.sh with stand-ins for its programs: what the report says of each way to end, and that the table
is made of measurements only. The check itself, on a simulated GPU: tests/gpu_check."""
import importlib.util
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"

MACHINE = {"gpu": "Tesla X", "simulated": False, "n_gpus": 1, "multiprocessors": 132, "memory_bytes": 141 * 10**9,
           "cuda_of_driver": 13010, "cuda_of_runtime": 13000}
FIGURES = [
    {"name": "copy_on_device", "shape": {"bytes": 1024}, "unit": "GB/s", "value": 3900.5, "difference": 0.0,
     "allowed_difference": 0.0, "outcome": "passed"},
    {"name": "gae", "shape": {"sequences": 3}, "unit": "us", "value": 10.0,
     "reference": {"name": "roofline measured in this run", "value": 2.5}, "ratio": 0.25, "difference": 1e-6,
     "allowed_difference": 2e-5, "outcome": "passed"},
    {"name": "decoding", "shape": {"batch": 32}, "unit": "tokens/s", "value": 5.0, "peak_gb": 1.25, "outcome": "passed"},
]
# What each program does when it is told nothing else.
BENCHMARKS = """#!/usr/bin/env python3
import json, sys
out = sys.argv[sys.argv.index("--out") + 1]
content = {"machine": MACHINE, "figures": [] if "machine" in sys.argv else FIGURES}
open(out, "w").write(json.dumps(content))
sys.exit(0 if "machine" in sys.argv else CODE)
"""
PASSING_TESTS = "#!/bin/sh\necho '[ RUN      ] GaeCuda.Works'\necho '[       OK ] GaeCuda.Works (3 ms)'\n"
SKIPPED_TESTS = "#!/bin/sh\necho 'NOT RUN OVER NCCL: one reason' >&2\necho '[  SKIPPED ] Nccl.Works (0 ms)'\n"
FAILING_TESTS = PASSING_TESTS + "echo '[  FAILED  ] GaeCuda.Fails (3 ms)'\nexit 1\n"
HANGING_TESTS = PASSING_TESTS + "echo '[ RUN      ] GaeCuda.Hangs'\nexec sleep 600\n"


# Of a master and a worker, with numbers that are the device's: what a run leaves, and nothing else.
MPIRUN = """#!/usr/bin/env python3
import json, pathlib, sys
settings = dict(word.split("=", 1) for word in sys.argv if "=" in word)
device = settings["experiment.device"]
run = pathlib.Path(settings["experiment.output_dir"]) / "grpo_tiny"
model = run / "models/latest/actor/model.safetensors"
model.parent.mkdir(parents=True, exist_ok=True)
model.write_text("weights")
steps = int(settings.get("experiment.total_steps", 4))
records = [{"step": step, "call": "", "metrics": {"loss": 0.5 * step, "time/step": float(step)}}
           for step in range(1, steps + 1)]
BREAK
(run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\\n" for record in records))
"""


def benchmarks(machine=None, figures=None, code=0):
    return (BENCHMARKS.replace("MACHINE", repr(machine or MACHINE))
            .replace("FIGURES", repr(FIGURES if figures is None else figures)).replace("CODE", str(code)))


class Checks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "build/gpu_check").mkdir(parents=True)
        self.out = self.folder / "out"

    def put_program(self, path, text):
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run_check(self, *arguments, test_kernels=PASSING_TESTS, test_comm=SKIPPED_TESTS, gpu_check=None,
                  mpirun=MPIRUN.replace("BREAK", "")):
        programs = {"test_kernels": test_kernels, "test_comm": test_comm, "test_decoder_on_gpus": PASSING_TESTS,
                    "gpu_check": gpu_check or benchmarks(), "model_check": benchmarks(), "orrery": "#!/bin/sh\n"}
        for name, text in programs.items():
            self.put_program(self.folder / "build/gpu_check" / name, text)
        self.put_program(self.folder / "mpirun", mpirun)
        # No torch, whatever is installed here: what is beside it belongs to the machine that is checked.
        environment = dict(os.environ, PYTHONNOUSERSITE="1", PATH=f"{self.folder}:{os.environ['PATH']}")
        return subprocess.run([TOOLS / "gpu_check.sh", "--build", self.folder / "build", "--out", self.out, *arguments],
                              capture_output=True, text=True, env=environment)

    def report(self):
        return json.loads((self.out / "gpu-report.json").read_text())

    def part(self, name):
        return next(part for part in self.report()["parts"] if part["name"] == name)

    def table(self, report):
        path = self.folder / "report.json"
        path.write_text(report if isinstance(report, str) else json.dumps(report))
        return subprocess.run([sys.executable, "-B", TOOLS / "gpu_check/table.py", path], capture_output=True, text=True)


class Parts(Checks):
    def test_all_passed_makes_a_report_and_a_table(self):
        ended = self.run_check()

        self.assertEqual(ended.returncode, 0, ended.stderr)
        report = self.report()
        self.assertEqual((report["schema"], report["simulated"], report["outcome"]), (1, False, "passed"))
        self.assertEqual(self.part("tests of kernels")["n_passed"], 1)
        self.assertEqual(self.part("tests of communicators")["outcome"], "skipped")
        self.assertEqual(self.part("tests of communicators")["why"], "NOT RUN OVER NCCL: one reason")
        self.assertEqual({name: self.part(name)["outcome"] for name in ("parity of models", "main job", "decoding", "training")},
                         dict.fromkeys(("parity of models", "main job", "decoding", "training"), "passed"))
        self.assertIn("not there yet: ", self.part("memory of communicators over NCCL")["why"])
        self.assertEqual([figure["name"] for figure in report["figures"]][:2], ["copy_on_device", "gae"])
        self.assertTrue((self.out / "gpu-report.md").is_file())

    def test_a_failed_test_is_named_and_fails_the_check(self):
        ended = self.run_check(test_kernels=FAILING_TESTS)

        self.assertEqual(ended.returncode, 1, ended.stderr)
        part = self.part("tests of kernels")
        self.assertEqual((part["outcome"], part["why"], part["n_passed"]), ("failed", "GaeCuda.Fails", 1))
        self.assertEqual(self.report()["outcome"], "failed")

    def test_a_test_that_hangs_is_ended_and_named(self):
        ended = self.run_check("--minutes", "0.02", test_kernels=HANGING_TESTS)

        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("GaeCuda.Hangs running", self.part("tests of kernels")["why"])
        self.assertIn("cut: the 0.02 minutes are over", self.part("kernels")["why"])

    def test_tests_that_are_none_or_crash_have_failed(self):
        for text, why in (("#!/bin/sh\n", "no test ran"), ("#!/bin/sh\necho oh >&2\nexit 9\n", "exit code 9: oh")):
            self.assertEqual(self.run_check(test_kernels=text).returncode, 1)
            self.assertEqual(self.part("tests of kernels")["why"], why)

    def test_a_failed_figure_and_benchmarks_that_end_early_fail_the_check(self):
        failed = [{**FIGURES[1], "outcome": "failed", "why": "differs"}]
        for program, why in ((benchmarks(figures=failed, code=1), "1 of 1 figures failed"),
                             (benchmarks(code=3), "exit code 3: no word of why"),
                             (benchmarks(figures=[]), "exit code 0: no word of why")):
            self.assertEqual(self.run_check(gpu_check=program).returncode, 1)
            self.assertEqual(self.part("kernels")["why"], why)

    def test_jobs_that_differ_from_the_cpus_or_end_badly_fail_the_check(self):
        for bad, name, why in (
                ('if device == "cuda": records[0]["metrics"]["loss"] += 1e-3', "job_beside_cpu", "differs by 0.000667"),
                ('if device == "cuda": records[0]["metrics"]["loss"] = float("nan")', "job_beside_cpu", "differs by nan"),
                ('if device == "cuda": del records[0]["metrics"]["loss"]', "job_beside_cpu", "are not the same"),
                ('if "parts" in str(run): model.write_text("others")', "job_resumed", "weights of the resumed run"),
                ('if "parts" in str(run): records[3:] = []', "job_resumed", "are not the same"),
                ('sys.exit("error: no luck")', "grpo_step", "the run step ended with exit code 1: error: no luck")):
            ended = self.run_check(mpirun=MPIRUN.replace("BREAK", bad))

            self.assertEqual(ended.returncode, 1, ended.stderr)
            failed = {figure["name"]: figure["why"] for figure in self.report()["figures"] if figure["outcome"] == "failed"}
            self.assertIn(name, failed, bad)
            self.assertIn(why, failed[name])

    def test_a_job_that_hangs_is_ended_and_fails(self):
        pid = self.folder / "pid"
        self.put_program(self.folder / "mpirun", MPIRUN.replace(
            "BREAK", f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"))
        out = self.folder / "figures.json"
        script = [sys.executable, "-B", TOOLS / "gpu_check/job.py", "--program", "/bin/true", "--configs", TOOLS, "--out", out]

        ended = subprocess.run([*script, "--seconds", "1", "--patience", "2", "--mpirun", self.folder / "mpirun"],
                               capture_output=True, text=True)

        self.assertEqual(ended.returncode, 1, ended.stderr)
        first, *others = json.loads(out.read_text())["figures"]
        self.assertEqual((first["outcome"], first["why"]), ("failed", "the run fp64-cuda did not end in time"))
        self.assertEqual({figure["why"] for figure in others}, {"cut: the 1 seconds of this part are over"})
        self.assertFalse(pathlib.Path(f"/proc/{pid.read_text()}").exists())

    def test_no_mpirun_starts_no_job(self):
        (self.folder / "few").mkdir()
        for name in ("bash", "sh", "env", "python3", "git", "ldd", "mkdir", "dirname", "rm", "mv", "sed", "cat", "uname"):
            (self.folder / "few" / name).symlink_to(shutil.which(name))
        self.run_check()
        ended = subprocess.run([TOOLS / "gpu_check.sh", "--build", self.folder / "build", "--out", self.out],
                               capture_output=True, text=True, env=dict(os.environ, PATH=str(self.folder / "few")))

        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual((self.part("main job")["outcome"], self.part("main job")["why"]), ("skipped", "no mpirun here"))

    def test_figures_that_were_all_left_out_skip_their_part(self):
        left_out = [{**FIGURES[0], "outcome": "skipped", "why": "no room"}]
        self.assertEqual(self.run_check(gpu_check=benchmarks(figures=left_out)).returncode, 0)
        self.assertEqual((self.part("kernels")["outcome"], self.part("kernels")["why"]), ("skipped", "no room"))

    def test_no_gpu_ends_with_2(self):
        ended = self.run_check(gpu_check="#!/bin/sh\necho 'gpu_check: no GPU found: no driver' >&2\nexit 2\n")

        self.assertEqual(ended.returncode, 2)
        self.assertIn("no GPU found: no driver", ended.stderr)

    def test_nothing_is_built_where_there_is_no_gpu(self):
        (self.folder / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        (self.folder / "nvidia-smi").chmod(0o755)
        environment = dict(os.environ, PATH=f"{self.folder}:{os.environ['PATH']}")
        ended = subprocess.run([TOOLS / "gpu_check.sh", "--out", self.out], capture_output=True, text=True, env=environment)
        self.assertEqual((ended.returncode, "no GPU found: nvidia-smi" in ended.stderr), (2, True), ended.stderr)

    def test_bad_usage_ends_with_2_and_a_folder_that_cannot_be_written_with_5(self):
        for arguments, code, text in ((["--nothing"], 2, "got --nothing"), (["--minutes"], 2, "expected a value"),
                                      (["--minutes", "soon"], 2, "got soon"), (["--minutes", "0"], 2, "got 0"),
                                      (["--build", "/nowhere"], 2, "/nowhere/gpu_check/gpu_check is not there"),
                                      (["--out", "/proc/report"], 5, "/proc/report cannot be written")):
            ended = self.run_check(*arguments)
            self.assertEqual((ended.returncode, text in ended.stderr), (code, True), ended.stderr)

    def test_a_report_that_cannot_be_written_ends_with_5(self):
        ended = subprocess.run([sys.executable, "-B", TOOLS / "gpu_check/parts.py", "--programs", self.folder, "--out",
                                "/proc/report"], capture_output=True, text=True)
        self.assertEqual((ended.returncode, "/proc/report/gpu-report.json cannot be written" in ended.stderr), (5, True))

    def test_what_is_packed_must_be_there(self):
        for arguments, code, text in ((["--nothing"], 2, "got --nothing"), (["--out"], 2, "expected a value"),
                                      (["--build", "/nowhere", "--out", str(self.folder / "x")], 2, "is not there"),
                                      (["--build", "/nowhere", "--out", "/proc/x"], 5, "cannot be written")):
            ended = subprocess.run([TOOLS / "pack_gpu_check.sh", *arguments], capture_output=True, text=True)
            self.assertEqual((ended.returncode, text in ended.stderr), (code, True), ended.stderr)


class Table(Checks):
    def setUp(self):
        super().setUp()
        self.run_check()
        self.real = self.report()

    def test_has_a_row_for_each_figure_with_its_share_of_the_roofline(self):
        ended = self.table({**self.real, "machine": {**self.real["machine"], "driver": "999.1"}})

        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("on Tesla X (141 GB, 132 multiprocessors), driver 999.1, CUDA 13.0", ended.stdout)
        self.assertIn("| copy on device: bytes 1024 | 3,900 GB/s |  |  | 0 of 0 |  |", ended.stdout)
        self.assertIn("| gae: sequences 3 | 10 us | 2.5 us, roofline measured in this run | 0.25 | 1e-06 of 2e-05 |  |",
                      ended.stdout)
        self.assertIn("| decoding: batch 32 | 5 tokens/s |  |  |  | peak of memory 1.25 GB |", ended.stdout)
        self.assertIn("| memory of communicators over NCCL | skipped | not there yet: no program measures it |", ended.stdout)

    def test_figures_of_a_simulated_gpu_are_refused(self):
        one = [self.real["figures"][0], {**self.real["figures"][1], "simulated": True}]
        for report in ({**self.real, "simulated": True}, {**self.real, "figures": one}):
            ended = self.table(report)
            self.assertEqual((ended.returncode, ended.stdout), (2, ""))
            self.assertIn("of a simulated GPU", ended.stderr)

    def test_a_simulated_check_makes_no_table(self):
        ended = self.run_check(gpu_check=benchmarks(machine={**MACHINE, "simulated": True}))

        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertFalse((self.out / "gpu-report.md").exists())
        self.assertEqual({figure["simulated"] for figure in self.report()["figures"]}, {True})

    def test_other_schemas_and_files_are_refused(self):
        for report, text in (({**self.real, "schema": 2}, "schema 2, expected 1"), ("{", "not a report"),
                             ("[]", "not a report"), ({"schema": 1}, "not a report"),
                             ({**self.real, "simulated": None}, "of a simulated GPU")):
            ended = self.table(report)
            self.assertEqual((ended.returncode, text in ended.stderr), (2, True), ended.stderr)


class TorchKernels(Checks):
    """Where torch is installed: on the CPU, its times of no use."""

    def test_each_kernel_that_torch_has_gets_a_figure_beside_it(self):
        rows = {"rows": 3, "vocabulary": 1000}
        shapes = [("decode_attention", {"heads": 14, "kv_heads": 2, "head_dim": 64, "batch": 2, "context": 40}),
                  ("sampling", {**rows, "filter": "all"}), ("sampling", {**rows, "filter": "top_k 50"}),
                  ("sampling", {**rows, "filter": "top_k 50, top_p 0.9"}), ("token_log_probs", rows),
                  ("pack", {"matrices": 2, "rows": 5, "columns": 14, "from": "fp32", "to": "bf16"})]
        kernels = [{"name": name, "shape": shape, "unit": "us", "value": 5.0} for name, shape in shapes]
        report, out = self.folder / "report.json", self.folder / "figures.json"
        report.write_text(json.dumps({"figures": [*kernels, {"name": "gae", "shape": {}, "unit": "us", "value": 1.0},
                                                  {"name": "pack", "shape": {}, "outcome": "skipped"}]}))

        ended = subprocess.run([sys.executable, "-B", TOOLS / "gpu_check/torch_kernels.py", "--report", report, "--out", out,
                                "--device", "cpu"], capture_output=True, text=True)

        self.assertEqual(ended.returncode, 0, ended.stderr)
        matmul, *figures = json.loads(out.read_text())["figures"]
        self.assertEqual((matmul["name"], matmul["unit"]), ("torch mm", "TFLOP/s"))
        self.assertEqual([figure["shape"] for figure in figures], [shape for _, shape in shapes])
        for figure in figures:
            self.assertEqual(figure["outcome"], "passed", figure)
            self.assertEqual(figure["reference"]["value"], 5.0)
            self.assertAlmostEqual(figure["ratio"], figure["value"] / 5.0)


class Transformers(Checks):
    """Where they are installed: on the CPU, their rates of no use."""

    def test_each_figure_of_a_model_gets_one_of_hugging_face_beside_it(self):
        passes = {"model": "qwen2", "sequences": 4, "length": 16, "micro_batch_tokens": 32, "type": "fp32"}
        shapes = [("decoding", {"model": "qwen2", "batch": 2, "context": 24, "type": "fp32"}), ("log_probs_pass", passes),
                  ("training_step", {**passes, "recomputed_layers": 2}), ("training_step", {**passes, "recomputed_layers": 0})]
        ours = [{"name": name, "shape": shape, "unit": "tokens/s", "value": 5.0} for name, shape in shapes]
        report, out = self.folder / "report.json", self.folder / "figures.json"
        report.write_text(json.dumps({"figures": [*ours, {"name": "prefill", "shape": {}, "value": 1.0},
                                                  {"name": "decoding", "shape": {}, "outcome": "skipped"}]}))

        ended = subprocess.run([sys.executable, "-B", TOOLS / "gpu_check/transformers_models.py", "--report", report, "--out",
                                out, "--fixtures", pathlib.Path(__file__).resolve().parents[1] / "fixtures", "--device",
                                "cpu"], capture_output=True, text=True)

        self.assertEqual(ended.returncode, 0, ended.stderr)
        figures = json.loads(out.read_text())["figures"]
        self.assertEqual([figure["name"] for figure in figures], [f"transformers {name}" for name, _ in shapes])
        for figure in figures:
            self.assertEqual(figure["outcome"], "passed", figure)
            self.assertEqual(figure["shape"]["type"], "bf16")
            self.assertAlmostEqual(figure["ratio"], 5.0 / figure["value"])


PACKAGES = {"TorchKernels": "torch", "Transformers": "transformers"}

if __name__ == "__main__":
    for package in (package for name, package in PACKAGES.items() if name in sys.argv):
        if importlib.util.find_spec(package) is None:
            print(f"NOT RUN BESIDE {package.upper()}: it is not installed")
            sys.exit(77)
    unittest.main()
