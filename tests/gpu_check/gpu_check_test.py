"""tools/gpu_check.sh whole on a simulated GPU, from a build folder and from a packed one; and that it fails where
a kernel is wrong, where there is no GPU, and where it cannot write."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"
options = None


def simulated(*more_libraries, gpus=1):
    """The environment in which programs see simulated GPUs."""
    libraries = [options.cudart, options.block_programs, *more_libraries]
    return dict(os.environ, LD_PRELOAD=":".join(map(str, libraries)), SIMULATED_GPUS=str(gpus))


def run(command, environment=None):
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def check(self, *arguments, environment=None):
        return run([TOOLS / "gpu_check.sh", "--build", options.build, "--out", self.out, *arguments],
                   environment or simulated())

    def figures(self, *arguments, program="gpu_check", environment=None):
        """(the ended process, its figures) of the benchmarks alone."""
        out = self.folder / "figures.json"
        ended = run([options.build / "gpu_check" / program, "--out", out, *arguments], environment or simulated())
        return ended, json.loads(out.read_text())["figures"] if out.is_file() else None

    def report(self):
        return json.loads((self.out / "gpu-report.json").read_text())

    def assert_whole(self, report, with_models):
        self.assertEqual(report["outcome"], "passed")
        self.assertEqual(report["machine"]["gpu"], "simulated GPU")
        parts = {part["name"]: part for part in report["parts"]}
        self.assertEqual(parts["tests of kernels"]["outcome"], "passed")
        self.assertGreaterEqual(parts["tests of kernels"]["n_passed"], 5)
        self.assertEqual(parts["tests of kernels"]["n_skipped"], 0)
        self.assertEqual(parts["kernels"]["n_failed"] + parts["kernels"]["n_skipped"], 0)
        self.assertIn("not there yet", parts["benchmark of weights to the generator"]["why"])
        self.assertEqual(parts["models beside Hugging Face"]["why"], "a simulated GPU")
        for name in ("tests of communicators", "parity of models", "main job", "decoding", "training"):
            part = parts[name]
            self.assertEqual(part["outcome"], "passed" if with_models else "skipped", part)
            if not with_models:
                self.assertEqual(part["why"], "a simulated GPU without a simulated NCCL")
            elif name in ("main job", "decoding", "training"):
                self.assertEqual((part["n_failed"], part["n_skipped"]), (0, 0), part)
        names = {figure["name"] for figure in report["figures"]}
        self.assertLessEqual({"copy_on_device", "launch_in_graph", "decode_attention", "sampling", "token_log_probs",
                              "token_log_probs_backward", "pack", "unpack", "gae", "norm_rows", "norm_rows_backward",
                              "activate", "activate_backward", "rotate_heads", "embedding_gradient", "adamw",
                              "allowance_context_gb"}, names)
        self.assertEqual({"decoding", "prefill", "training_step", "log_probs_pass", "job_beside_cpu", "job_resumed",
                          "grpo_step"} <= names, with_models)
        for figure in report["figures"]:
            self.assertIs(figure["simulated"], True, figure)
            if figure["name"] in ("decoding", "training_step", "log_probs_pass"):
                self.assertGreater(figure["peak_gb"], 0, figure)
                self.assertGreater(figure["ratio"], 0, figure)

    def test_runs_whole_and_marks_every_figure_as_simulated(self):
        ended = self.check("--minutes", "20", environment=simulated(*options.nccl, gpus=2))

        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assert_whole(self.report(), bool(options.nccl))
        parity = next(part for part in self.report()["parts"] if part["name"] == "parity of models")
        self.assertEqual(parity.get("n_skipped", 0), 0, parity)
        self.assertFalse((self.out / "gpu-report.md").exists())
        self.assertIn("of a simulated GPU", ended.stderr)

    def test_is_packed_and_runs_where_this_build_is_not_seen(self):
        packed = run([TOOLS / "pack_gpu_check.sh", "--build", options.build, "--out", self.folder / "check.tar.gz"])
        self.assertEqual(packed.returncode, 0, packed.stdout + packed.stderr)
        run(["tar", "-C", self.folder, "-xf", self.folder / "check.tar.gz"])
        # Python's torch of the other machine: LibTorch's libraries, and a runtime, here the simulated one.
        torch, cuda = self.folder / "site/torch", self.folder / "site/nvidia/cu13/lib"
        (torch / "lib").mkdir(parents=True)
        cuda.mkdir(parents=True)
        (torch / "__init__.py").touch()
        facts = self.folder / "site/torch-0.dist-info"
        facts.mkdir()
        version = (self.folder / "gpu_check/torch_version").read_text().strip()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}+simulated\n")
        for library in (options.torch / "lib").iterdir():
            (torch / "lib" / library.name).symlink_to(library)
        preloaded = []
        for library in (options.cudart, options.block_programs, options.block_programs.parent / "libsimulated_gpu.so",
                        *options.nccl):
            (cuda / library.name).write_bytes(library.read_bytes())
            preloaded.append(cuda / library.name)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder / "site"), "CUDA_HOME": "/nowhere",
                       "LD_PRELOAD": ":".join(map(str, preloaded)), "LD_LIBRARY_PATH": str(cuda)}
        programs = self.folder / "gpu_check/bin"

        ended = run([self.folder / "gpu_check/gpu_check.sh", "--minutes", "20", "--out", self.out], environment)

        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assert_whole(self.report(), bool(options.nccl))
        for program in programs.iterdir():
            self.assertNotRegex(run(["readelf", "-d", program]).stdout, r"R(UN)?PATH", program)
        loaded = run(["ldd", programs / "gpu_check", self.folder / "gpu_check/openmpi/bin/mpirun"], {**environment, "LD_LIBRARY_PATH": f"{self.folder}/gpu_check/lib:{cuda}"})
        self.assertNotIn("not found", loaded.stdout)
        self.assertNotIn(str(options.build), loaded.stdout)

    def test_a_model_without_room_is_left_out_and_says_so(self):
        if not options.nccl:
            self.skipTest("built without NCCL")
        ended, figures = self.figures("--fixtures", REPOSITORY / "tests/fixtures", program="model_check",
                                      environment=dict(simulated(*options.nccl), SIMULATED_GPU_BYTES="4500000"))

        self.assertEqual(ended.returncode, 0, ended.stderr)
        left_out = [figure for figure in figures if figure["outcome"] == "skipped"]
        self.assertIn("training_step", {figure["name"] for figure in left_out})
        for figure in left_out:
            self.assertIn("there is no memory for it: another ", figure["why"])

    def test_models_are_measured_against_what_their_sizes_need(self):
        if not options.nccl:
            self.skipTest("built without NCCL")
        ended, figures = self.figures("--fixtures", REPOSITORY / "tests/fixtures", program="model_check",
                                      environment=simulated(*options.nccl))

        self.assertEqual(ended.returncode, 0, ended.stderr)
        vocabulary, hidden, middle, layers, kv = 128, 32, 48, 2, 16  # of tests/fixtures/hf/qwen2
        matrices = layers * (2 * hidden * (hidden + kv) + 3 * hidden * middle) + vocabulary * hidden
        others = layers * (hidden + 2 * kv + 2 * hidden) + hidden  # biases and norms
        rates, n_checked = {}, 0
        for figure in figures:
            shape, of_type = figure["shape"], figure["shape"].get("type")
            if figure["name"] in ("copy_on_device", "matmul"):
                rates[of_type] = figure["value"]
                continue
            if figure["name"] == "decoding":  # contexts of 20 to 24
                numbers = matrices + others + shape["batch"] * 22 * 2 * kv * layers
                expected = shape["batch"] * rates[None] * 1e9 / (numbers * {"bf16": 2, "fp32": 4}[of_type])
            else:
                passes = 3 if figure["name"] == "training_step" else 1
                head = vocabulary * hidden if figure["name"] == "prefill" else 0
                scores = layers * (shape["length"] + 1) / 2 * 2 * hidden
                expected = rates[of_type] * 1e12 / (2 * passes * (matrices - head + scores))
            self.assertAlmostEqual(figure["reference"]["value"] / expected, 1, delta=1e-3, msg=figure)
            n_checked += 1
        self.assertEqual(n_checked, 3 + 1 + 1 + 2)

    def test_a_wrong_kernel_fails_its_figure_and_no_other(self):
        ended, figures = self.figures("--only", "bandwidth,gae", environment=simulated(options.wrong_kernel))

        self.assertEqual(ended.returncode, 1, ended.stderr)
        outcomes = {figure["name"]: figure["outcome"] for figure in figures}
        self.assertEqual(outcomes.pop("gae"), "failed")
        self.assertEqual(set(outcomes.values()), {"passed"})
        self.assertIn("differs from the CPU's by", ended.stderr)

    def test_a_wrong_kernel_fails_the_whole_check(self):
        ended = self.check("--minutes", "6", environment=simulated(options.wrong_kernel))

        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        report = self.report()
        self.assertEqual(report["outcome"], "failed")
        parts = {part["name"]: part for part in report["parts"]}
        self.assertEqual((parts["tests of kernels"]["outcome"], parts["tests of kernels"]["why"]),
                         ("failed", "GaeCuda.GivesWhatTheLoopGives"))
        self.assertEqual((parts["kernels"]["outcome"], parts["kernels"]["n_failed"]), ("failed", 1))

    def test_what_has_no_room_fails_and_what_comes_after_it_goes_on(self):
        ended, figures = self.figures(environment=dict(simulated(), SIMULATED_GPU_BYTES="140000"))

        self.assertEqual(ended.returncode, 1, ended.stderr)
        failed = [figure for figure in figures if figure["outcome"] == "failed"]
        self.assertEqual({figure["shape"].get("model") for figure in failed}, {"Qwen2.5-7B"})
        for figure in failed:
            self.assertIn("out of memory", figure["why"])

    def test_what_comes_after_its_time_is_left_out_and_says_so(self):
        ended, figures = self.figures("--only", "bandwidth,gae", "--seconds", "0")

        self.assertEqual(ended.returncode, 0, ended.stderr)
        for figure in figures:
            self.assertEqual((figure["outcome"], figure["why"]),
                             ("skipped", "cut: the 0 seconds of this part are over"))

    def test_no_gpu_is_an_error(self):
        for environment in (simulated(gpus=0), dict(os.environ, CUDA_VISIBLE_DEVICES="")):
            ended = self.check(environment=environment)
            self.assertEqual(ended.returncode, 2, ended.stdout + ended.stderr)
            self.assertIn("no GPU found", ended.stderr)

    def test_bad_usage_of_the_benchmarks_is_an_error(self):
        for arguments, text in ((["--nothing"], "got --nothing"), (["--seconds"], "expected a value; got none"),
                                (["--seconds", "soon"], "got soon"), (["--only", "gae,tea"], "got tea"),
                                (["--sizes", "huge"], "got huge")):
            ended, _ = self.figures(*arguments)
            self.assertEqual(ended.returncode, 2, ended.stderr)
            self.assertIn(text, ended.stderr)
        ended = run([options.build / "gpu_check/gpu_check", "--out", "/proc/figures.json"], simulated())
        self.assertEqual(ended.returncode, 5, ended.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("build", "cudart", "block-programs", "wrong-kernel", "torch"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    # Simulated NCCL, and what else the tests of communicators need to be loaded.
    parser.add_argument("--nccl", type=pathlib.Path, nargs="*", default=[])
    options, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
