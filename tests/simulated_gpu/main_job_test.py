#!/usr/bin/env python3
"""Whole jobs on simulated GPUs beside the same on CPUs, and beside themselves after an interruption.

    tests/simulated_gpu/main_job_test.py --program build/cuda_check/orrery --on-gpus THE_SAME_ON_SIMULATED_GPUS [TEST...]

Numbers are compared in fp64, where another order of sums is far from the first digits.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ON_GPUS = ""
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PMIX_MCA_psec": "native", "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
SECONDS = 240
TOLERANCE = 1e-8  # of numbers that went through steps of the optimizer


def command(workers, gpus, *words):
    """As on a machine with so many GPUs."""
    program = ["env", f"SIMULATED_GPUS={gpus}", ON_GPUS] if gpus else [PROGRAM]
    return ["mpirun", "--oversubscribe", "-n", str(workers + 1), *program, *words]


def run(words, **more):
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=ENVIRONMENT, **more)


def train(folder, config, workers, gpus, *settings):
    settings = [f"experiment.output_dir={folder}", *settings]
    return run(command(workers, gpus, "train", f"configs/{config}.cfg",
                       *(word for setting in settings for word in ("--set", setting))))


def in_fp64(*roles):
    return [f"model.{role}.dtype=fp64" for role in roles]


def metrics(folder):
    """{(step, call, name): number} but for times."""
    found = {}
    for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["metrics"].items():
            if name.startswith("time/") or name.endswith("_per_second"):
                continue
            found[record["step"], record["call"], name] = value
    return found


def computed_with(folder):
    manifest = json.loads((folder / "checkpoints" / "latest" / "manifest.json").read_text())
    return manifest["manifest"]["instruction_sets"]


class Jobs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def trained(self, name, config, workers, gpus, *settings):
        done = train(self.folder / name, config, workers, gpus, *settings)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        self.assertNotIn("broken rule", done.stderr)
        return self.folder / name / config

    def assert_same_numbers(self, got, expected):
        self.assertEqual(got.keys(), expected.keys())
        self.assertGreater(len(got), 30)
        for key, value in expected.items():
            if value is None or got[key] is None:
                self.assertEqual(got[key], value, key)
            else:
                self.assertTrue(math.isclose(got[key], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE),
                                f"{key}: {got[key]} on GPUs, {value} on CPUs")

    def assert_same_job(self, config, workers, *settings):
        on_cpus = self.trained("cpu", config, workers, 0, *settings)
        on_gpus = self.trained("gpu", config, workers, workers, "experiment.device=cuda", *settings)
        self.assertEqual(set(computed_with(on_gpus)), {"cuda"})
        self.assertNotIn("cuda", computed_with(on_cpus))
        self.assert_same_numbers(metrics(on_gpus), metrics(on_cpus))


class SameAsOnCpus(Jobs):
    def test_ppo_of_four_roles_on_two_gpus(self):
        self.assert_same_job("ppo_tiny", 2, *in_fp64("actor", "critic", "ref"))

    def test_ppo_with_a_layout_for_each_call_on_four_gpus(self):
        self.assert_same_job("ppo_layouts", 4, *in_fp64("actor", "critic", "ref"))

    def test_generation_in_a_pipeline_of_tensor_ranks(self):
        self.assert_same_job("ppo_layouts", 4, *in_fp64("actor", "critic", "ref"), "call.actor_gen.layout=d1t2p2@0-3",
                             "call.actor_gen.temperature=0.9", "call.actor_gen.top_p=0.95")

    def test_a_pool_of_pages_that_preempts(self):
        self.assert_same_job("ppo_tiny", 2, *in_fp64("actor", "critic", "ref"), "call.actor_gen.max_new_tokens=40",
                             "call.actor_gen.max_cache_tokens=96")

    def test_distillation_of_whole_distributions(self):
        self.assert_same_job("distill_full_tiny", 2, *in_fp64("actor", "teacher"))

    def test_preferences(self):
        self.assert_same_job("dpo_tiny", 2, *in_fp64("actor", "ref"))

    def test_reward_models(self):
        self.assert_same_job("reward_model_tiny", 2, *in_fp64("reward"))


class ModelCommands(Jobs):
    """`score` and `generate`, alone and on several GPUs, beside the same on a CPU."""

    MODEL = "tests/fixtures/hf/llama-gqa"

    def outcome(self, workers, gpus, *words):
        tokens, out = self.folder / "tokens.json", self.folder / "out.json"
        tokens.write_text(json.dumps({"sequences": [[1, 5, 9, 2], [3, 4], [7, 6, 5, 4, 3, 2, 1]]}))
        words = [*words, "--model", self.MODEL, "--dtype", "fp64", "--tokens", str(tokens), "--out", str(out),
                 "--device", "cuda" if gpus else "cpu"]
        whole = command(workers, gpus, *words)
        done = run(whole if workers else whole[4:])
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        return json.loads(out.read_text())

    def assert_near(self, got, expected):
        self.assertEqual(len(got), len(expected))
        for a, b in zip(got, expected):
            self.assertEqual(len(a), len(b))
            for x, y in zip(a, b):
                self.assertAlmostEqual(x, y, delta=1e-9)

    def test_score(self):
        expected = self.outcome(0, 0, "score", "--check")["logprobs"]
        for workers, more in ((0, []), (2, []), (2, ["--layout", "d1t2p1@0-1"])):
            self.assert_near(self.outcome(workers, 2, "score", "--check", *more)["logprobs"], expected)

    def test_generate(self):
        options = ["generate", "--max-new-tokens", "12", "--top-p", "0.9", "--seed", "4"]
        expected = self.outcome(0, 0, *options)
        for workers, more in ((0, []), (2, ["--layout", "d1t1p2@0-1"])):
            got = self.outcome(workers, 2, *options, *more)
            self.assertEqual(got["sequences"], expected["sequences"])
            self.assert_near(got["sampling_logprobs"], expected["sampling_logprobs"])


class Interrupted(Jobs):
    """A run that stops after a checkpoint and goes on is the run that nothing stopped, bit for bit."""

    def test_resumes_bit_for_bit(self):
        more = ["checkpoint.every_steps=2"]
        whole = self.trained("whole", "ppo_tiny", 2, 2, *more)
        self.trained("parts", "ppo_tiny", 2, 2, *more, "experiment.total_steps=2")
        parts = self.trained("parts", "ppo_tiny", 2, 2, *more)

        self.assertEqual(metrics(parts), metrics(whole))
        file = "models/latest/actor/model.safetensors"
        self.assertEqual((parts / file).read_bytes(), (whole / file).read_bytes())


class Place(Jobs):
    def test_workers_ask_for_the_cores_near_their_own_gpu(self):
        done = train(self.folder, "grpo_tiny", 2, 2, "experiment.total_steps=1")
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        self.assertRegex(done.stdout + done.stderr, "worker 1: .*near GPU ffff:00:01.0")

    def test_doctor_looks_at_the_gpus_of_a_build_with_cuda(self):
        done = run(command(2, 2, "doctor", "--seconds", "0.05", "--write-mb", "0", "--directory", str(self.folder)))
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        for line in ("GPUs of .* 2 for 2 workers", "CUDA of .*runtime 1", "ffff:00:01.0", "NCCL all-reduce of all GPUs"):
            self.assertRegex(done.stdout, line)


class Refused(Jobs):
    def test_fewer_gpus_than_workers(self):
        done = train(self.folder, "grpo_tiny", 2, 1)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, "none for worker 1 on .*: the node has 1 GPU, this is its worker 2")
        self.assertFalse((self.folder / "grpo_tiny" / "log.txt").exists())

    def test_a_gpu_that_is_wanted_where_there_is_none(self):
        done = train(self.folder, "grpo_tiny", 2, 0, "experiment.device=cuda")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, "none for worker 0 on .*no GPU")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--on-gpus", required=True)
    options, rest = parser.parse_known_args()
    PROGRAM, ON_GPUS = str(pathlib.Path(options.program).resolve()), options.on_gpus
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
