#!/usr/bin/env python3
"""Whole jobs on simulated GPUs beside the same on CPUs, and beside themselves after an interruption.

    tests/simulated_gpu/main_job_test.py --program build/cuda_check/orrery --on-gpus THE_SAME_ON_SIMULATED_GPUS \\
        --nvtx-listener LIBRARY [TEST...]

Numbers are compared in fp64, where another order of sums is far from the first digits.
"""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ON_GPUS = NVTX_LISTENER = ""
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PMIX_MCA_psec": "native", "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
SECONDS = 240
TOLERANCE = 1e-8  # of numbers that went through steps of the optimizer


def command(workers, gpus, *words, **environment):
    """As on a machine with so many GPUs."""
    more = [f"{name}={value}" for name, value in environment.items()]
    program = ["env", f"SIMULATED_GPUS={gpus}", *more, ON_GPUS] if gpus else ["env", "CUDA_VISIBLE_DEVICES=", PROGRAM]
    return ["mpirun", "--oversubscribe", "-n", str(workers + 1), *program, *words]


def run(words, **more):
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=ENVIRONMENT, **more)


def train(folder, config, workers, gpus, *settings, **environment):
    settings = [f"experiment.output_dir={folder}", *settings]
    return run(command(workers, gpus, "train", f"configs/{config}.cfg",
                       *(word for setting in settings for word in ("--set", setting)), **environment))


def in_fp64(*roles):
    return [f"model.{role}.dtype=fp64" for role in roles]


def in_bf16(*roles):
    return [f"model.{role}.dtype=bf16" for role in roles]


def all_metrics(folder):
    """{(step, call, name): number}"""
    found = {}
    for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["metrics"].items():
            found[record["step"], record["call"], name] = value
    return found


def metrics(folder):
    """Those that do not depend on the machine."""
    return {key: value for key, value in all_metrics(folder).items()
            if not key[2].startswith(("time/", "memory/")) and not key[2].endswith("_per_second")}


def memory(folder):
    return {key: value for key, value in all_metrics(folder).items() if key[2].startswith("memory/")}


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

    def assert_planned(self, run):
        """What each call took of a GPU is what the plan said, to 10 %."""
        table = (run / "log.txt").read_text().split("memory of GPUs, planned and measured")[1].splitlines()[1:4]
        self.assertEqual([row.split()[0] for row in table], ["phase", "actor_gen", "actor_train"])
        for row in table[1:]:
            self.assertLessEqual(abs(int(re.search(r"([+-]\d+) %", row)[1])), 10, row)

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
        self.assertFalse(memory(on_cpus))
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

    def test_roles_that_are_read_from_files_on_data_and_tensor_ranks(self):
        model = self.trained("model", "ppo_tiny", 2, 0, "experiment.total_steps=1") / "models" / "latest" / "actor"
        self.assert_same_job("ppo_tiny", 4, *in_fp64("actor", "critic", "ref"), "layout.default=d2t2p1@0-3",
                             *(f"model.{role}.path={model.resolve()}" for role in ("actor", "ref")))

    def test_distillation_of_whole_distributions(self):
        self.assert_same_job("distill_full_tiny", 2, *in_fp64("actor", "teacher"))

    def test_preferences(self):
        self.assert_same_job("dpo_tiny", 2, *in_fp64("actor", "ref"))

    def test_reward_models(self):
        self.assert_same_job("reward_model_tiny", 2, *in_fp64("reward"))


class ModelCommands(Jobs):
    """`score` and `generate`, alone and on several GPUs, beside the same on a CPU."""

    MODEL = "tests/fixtures/hf/llama-gqa"

    def ended(self, workers, gpus, *words, **environment):
        tokens = self.folder / "tokens.json"
        tokens.write_text(json.dumps({"sequences": [[1, 5, 9, 2], [3, 4], [7, 6, 5, 4, 3, 2, 1]]}))
        words = [*words, "--model", self.MODEL, "--dtype", "fp64", "--tokens", str(tokens), "--out",
                 str(self.folder / "out.json"), "--device", "cuda" if gpus else "cpu"]
        whole = command(workers, gpus, *words, **environment)
        return run(whole if workers else whole[4:])  # alone: without mpirun

    def outcome(self, workers, gpus, *words):
        done = self.ended(workers, gpus, *words)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        return json.loads((self.folder / "out.json").read_text())

    def test_a_gpu_that_is_lost(self):
        for workers in (0, 2):
            done = self.ended(workers, 2, "score", SIMULATED_GPU_LOST="0:kernel:20")
            self.assertEqual(done.returncode, 4, done.stderr[-4000:])
            self.assertRegex(done.stderr, r"GPU 0 \(ffff:00:00.0\) of .* is lost: cudaErrorLaunchFailure")
            self.assertFalse((self.folder / "out.json").exists())

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


class Bf16(Jobs):
    """Parameters of bf16 are computed with in bf16 on GPUs: other last digits than a CPU's, which widens them."""

    ROLES = in_bf16("actor", "critic", "ref")

    def test_resumes_bit_for_bit_with_a_layout_for_each_call(self):
        more = [*self.ROLES, "checkpoint.every_steps=2"]
        whole = self.trained("whole", "ppo_layouts", 4, 4, *more)
        self.trained("parts", "ppo_layouts", 4, 4, *more, "experiment.total_steps=2")
        parts = self.trained("parts", "ppo_layouts", 4, 4, *more)
        self.assertEqual(metrics(parts), metrics(whole))

    def test_moments_and_gradients_of_bf16_go_on_bit_for_bit_on_gpus_and_cpus(self):
        for gpus in (2, 0):
            more = [*in_bf16("actor"), "model.actor.moments_dtype=bf16", "model.actor.gradient_dtype=bf16",
                    "checkpoint.every_steps=2"]
            whole = self.trained(f"whole_{gpus}", "grpo_tiny", 2, gpus, *more)
            self.trained(f"parts_{gpus}", "grpo_tiny", 2, gpus, *more, "experiment.total_steps=2")
            parts = self.trained(f"parts_{gpus}", "grpo_tiny", 2, gpus, *more)
            self.assertEqual(metrics(parts), metrics(whole))
            file = "models/latest/actor/model.safetensors"
            self.assertEqual((parts / file).read_bytes(), (whole / file).read_bytes())

    def test_says_of_answers_what_generation_said(self):
        run = self.trained("run", "grpo_tiny", 2, 2, *in_bf16("actor"))
        gaps = [value for key, value in metrics(run).items() if key[2].endswith("mismatch/abs_mean")]
        self.assertEqual(len(gaps), 4)
        self.assertLess(max(gaps), 0.02)
        self.assertGreater(max(gaps), 0, "bf16 was computed with in fp32")

    def test_goes_on_on_cpus_and_back(self):
        more = [*in_bf16("actor"), "checkpoint.every_steps=1"]
        for steps, gpus in ((1, 2), (2, 0), (3, 2)):
            run = self.trained("run", "grpo_tiny", 2, gpus, *more, f"experiment.total_steps={steps}")
            self.assertEqual("cuda" in computed_with(run), gpus > 0)

    def test_plans_its_memory_to_10_percent(self):
        for name, more in {"whole": [], "cut": ["call.actor_train.n_minibatches=2"],
                           # Few sequences: flash attention's gradient by the queries is there many times.
                           "few": ["call.actor_train.n_minibatches=4", "call.actor_train.n_micro_batches=4"],
                           "gradients": ["model.actor.gradient_dtype=bf16"]}.items():
            run = self.trained(name, "grpo_tiny", 2, 2, *in_bf16("actor"), "dataset.train.max_prompt_tokens=4", *more)
            self.assert_planned(run)


class Place(Jobs):
    def test_workers_ask_for_the_cores_near_their_own_gpu(self):
        done = train(self.folder, "grpo_tiny", 2, 2, "experiment.total_steps=1")
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        self.assertRegex(done.stdout + done.stderr, "worker 1: .*near GPU ffff:00:01.0")

    def test_doctor_looks_at_the_gpus_of_a_build_with_cuda(self):
        done = run(command(3, 3, "doctor", "--seconds", "0.05", "--write-mb", "0", "--directory", str(self.folder)))
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        for line in ("GPUs of .* 3 for 3 workers", "CUDA of .*runtime 1", "ffff:00:01.0", "NCCL all-reduce of all GPUs",
                     r"copies of the slowest GPU of \S+ +to it \d", r"slowest of neighbours .*: workers [01] and [12]"):
            self.assertRegex(done.stdout, line)


class Memory(Jobs):
    def test_is_measured_in_every_call_and_the_same_in_a_second_run(self):
        few = ["call.actor_gen.max_batch=4", "evaluate.max_batch=4"]  # so many rows has a step
        runs = [self.trained(name, "grpo_tiny", 2, 2, *few) for name in ("first", "second")]
        measured = memory(runs[0])
        parameters = (runs[0] / "models/latest/actor/model.safetensors").stat().st_size
        for step in range(1, 5):
            for call in ("actor_gen", "actor_train"):
                peak = measured[step, call, f"memory/{call}/peak_bytes"]
                self.assertGreater(peak, parameters)
                self.assertGreaterEqual(measured[step, call, f"memory/{call}/reserved_bytes"], peak)
                self.assertGreaterEqual(measured[step, call, f"memory/{call}/other_bytes"], 0)
        self.assertLess(measured[2, "actor_gen", "memory/actor_gen/peak_bytes"],
                        measured[1, "actor_train", "memory/actor_train/peak_bytes"], "a peak of its own")
        self.assertEqual(memory(runs[1]), measured)

    def test_is_what_the_plan_says_to_10_percent(self):
        for workers in (1, 2):
            run = self.trained(f"on_{workers}", "grpo_tiny", workers, workers, "dataset.train.max_prompt_tokens=4")
            self.assert_planned(run)

    def test_of_two_minibatches_is_what_the_plan_says_to_10_percent(self):
        more = ["call.actor_train.n_minibatches=2", "dataset.train.max_prompt_tokens=4"]
        self.assert_planned(self.trained("run", "grpo_tiny", 1, 1, *more))


class Offloaded(Jobs):
    """The same PPO with everything on the host that is idle, and with everything on the GPU."""

    ROLES = ("actor", "critic", "ref")
    WIDE = [f"model.{role}.intermediate_size=16384" for role in ROLES]  # 12 MiB of parameters each

    def settings(self, offload):
        return [f"model.{role}.offload={offload}" for role in self.ROLES]

    def test_gives_the_same_bits_also_when_it_is_resumed(self):
        more = ["checkpoint.every_steps=2"]
        kept = self.trained("kept", "ppo_tiny", 2, 2, *more, *self.settings("never"))
        self.trained("offloaded", "ppo_tiny", 2, 2, *more, *self.settings("when_idle"), "experiment.total_steps=2")
        offloaded = self.trained("offloaded", "ppo_tiny", 2, 2, *more, *self.settings("when_idle"))

        self.assertEqual(metrics(offloaded), metrics(kept))
        for role in ("actor", "critic"):
            file = f"models/latest/{role}/model.safetensors"
            self.assertEqual((offloaded / file).read_bytes(), (kept / file).read_bytes())

    def test_takes_so_much_less_as_the_plan_says(self):
        more = ["experiment.total_steps=2", "dataset.train.max_prompt_tokens=4", "call.actor_train.n_minibatches=1",
                "call.critic_train.n_minibatches=1", *self.WIDE]
        runs = {offload: self.trained(offload, "ppo_tiny", 2, 2, *more, *self.settings(offload))
                for offload in ("never", "when_idle")}
        kept, offloaded = (memory(runs[offload]) for offload in ("never", "when_idle"))
        own = (runs["never"] / "models/latest/actor/model.safetensors").stat().st_size
        # Two data ranks share the moments, two numbers for each parameter: of a role as much as its parameters.
        for call, n_idle in (("actor_gen", 3), ("ref_inf", 2), ("critic_inf", 3), ("actor_train", 2),
                             ("critic_train", 2)):
            for step in (1, 2):
                peaks = [run[step, call, f"memory/{call}/peak_bytes"] for run in (kept, offloaded)]
                self.assertAlmostEqual((peaks[0] - peaks[1]) / (n_idle * own), 1, delta=0.1, msg=(step, call))
        for run in runs.values():
            table = (run / "log.txt").read_text().split("memory of GPUs, planned and measured")[1].splitlines()[2:7]
            self.assertEqual([row.split()[0] for row in table],
                             ["actor_gen", "ref_inf", "critic_inf", "actor_train", "critic_train"])
            for row in table:
                self.assertLessEqual(abs(int(re.search(r"([+-]\d+) %", row)[1])), 10, row)

    def test_gives_pages_of_keys_and_values_the_room(self):
        """The pool of pages has room in the place of what is idle, and not beside it."""
        trains = ("actor_train", "critic_train", "ref_inf", "critic_inf")
        settings = ["experiment.total_steps=1", "evaluate.every_steps=0", "evaluate.at_start=false",
                    "evaluate.at_end=false", "call.actor_gen.group_size=6", "dataset.train.max_prompt_tokens=4",
                    "model.actor.n_heads=32", "model.actor.n_kv_heads=32", "model.actor.head_dim=256", *self.WIDE,
                    *(f"model.{role}.recompute_layers=all" for role in ("actor", "critic")),
                    *(f"call.{call}.max_tokens_per_micro_batch=64" for call in trains),
                    "call.actor_gen.max_cache_tokens=100000"]  # all that could be needed
        room = {"SIMULATED_GPU_BYTES": 300 << 20}
        done = train(self.folder / "kept", "ppo_tiny", 1, 1, *settings, *self.settings("never"), **room)
        self.assertEqual(done.returncode, 3, done.stderr[-4000:])
        self.assertRegex(done.stderr, "there is no memory on the GPU for generate of role actor")
        for role in self.ROLES:
            self.assertIn(f"or set model.{role}.offload = when_idle", done.stderr)

        done = train(self.folder / "auto", "ppo_tiny", 1, 1, *settings, **room)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        run = self.folder / "auto" / "ppo_tiny"
        for role in self.ROLES:
            self.assertIn(f"model.{role}.offload = when_idle (auto): with its ", (run / "log.txt").read_text())
        self.assertEqual(len(re.findall("^offload = when_idle", (run / "config.cfg").read_text(), re.M)), 3)

    def test_is_nothing_where_there_is_room(self):
        run = self.trained("run", "ppo_tiny", 2, 2, "experiment.total_steps=1")
        self.assertIn("model.ref.offload = never (auto): every phase fits with its parameters",
                      (run / "log.txt").read_text())
        self.assertFalse([key for key in all_metrics(run) if "/offload" in key[2]])


class Pages(Jobs):
    """Pages of keys and values get what is left on a GPU where the configuration does not say how many there are."""

    SETTINGS = ["experiment.total_steps=2", "call.actor_gen.group_size=6", "dataset.train.max_prompt_tokens=4",
                "model.actor.head_dim=64", *in_fp64("actor", "critic", "ref")]

    def planned(self, size_bytes):
        """The line of the plan for a GPU of so many bytes; none where all pages that could be needed fit."""
        plan = run([PROGRAM, "plan", "configs/ppo_tiny.cfg", "--workers", "1", "--device", "cuda", "--gpu-memory-gb",
                    str(size_bytes / 1e9), *(word for setting in self.SETTINGS for word in ("--set", setting))])
        return re.search(r"call.actor_gen.max_cache_tokens = (\d+) \(auto\): .*", plan.stdout)

    def samples(self, run):
        return {file.relative_to(run): file.read_bytes() for file in sorted((run / "samples").rglob("*"))
                if file.is_file()}

    def test_are_as_many_as_the_plan_says_and_change_no_token(self):
        page = 4096
        too_small, enough = 10**9 // page, 4 * 10**9 // page
        while enough - too_small > 1:
            middle = (too_small + enough) // 2
            too_small, enough = (middle, enough) if self.planned(middle * page) else (too_small, middle)
        size_bytes = enough * page - 2_800_000  # of some 3.4 MB of pages
        planned = self.planned(size_bytes)

        done = train(self.folder / "limited", "ppo_tiny", 1, 1, *self.SETTINGS, SIMULATED_GPU_BYTES=size_bytes)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        limited = self.folder / "limited" / "ppo_tiny"
        self.assertIn(planned[0], (limited / "log.txt").read_text())
        self.assertIn(f"max_cache_tokens = {planned[1]}\n", (limited / "config.cfg").read_text())
        self.assertGreater(int(planned[1]), 32, "more than one sequence")
        whole = self.trained("whole", "ppo_tiny", 1, 1, *self.SETTINGS)
        self.assertNotIn("max_cache_tokens", (whole / "log.txt").read_text())
        peaks = [memory(run)[2, "actor_gen", "memory/actor_gen/peak_bytes"] for run in (limited, whole)]
        self.assertLess(peaks[0], peaks[1] - 500_000)
        self.assertEqual(self.samples(limited), self.samples(whole))


class LostGpu(Jobs):
    """A GPU that is lost in mid-run ends the job in time, with a report, and the same command goes on from the last
    checkpoint as if nothing had happened."""

    MORE = ["checkpoint.every_steps=1", *in_fp64("actor")]

    def assert_reported(self, loss, during, error="cudaErrorLaunchFailure", **environment):
        began = time.monotonic()
        done = train(self.folder / "lost", "grpo_tiny", 2, 2, *self.MORE, SIMULATED_GPU_LOST=loss, **environment)
        self.assertEqual(done.returncode, 4, done.stderr[-6000:])
        self.assertLess(time.monotonic() - began, 60)
        for part in (rf"worker 1 on \S+, step \d+, .*{during}: .*GPU 1 \(ffff:00:01.0\) of \S+ is lost: {error}",
                     r"dmesg \(Xid\) and nvidia-smi -q -i ffff:00:01.0", "the same command again", "--exclude="):
            self.assertRegex(done.stderr, part)

    def assert_goes_on(self):
        whole = self.trained("whole", "grpo_tiny", 2, 2, *self.MORE)
        self.assertTrue(list((self.folder / "lost" / "grpo_tiny" / "checkpoints").glob("step-*[0-9]")))
        lost = self.trained("lost", "grpo_tiny", 2, 2, *self.MORE)
        self.assertEqual(metrics(lost), metrics(whole))
        file = "models/latest/actor/model.safetensors"
        self.assertEqual((lost / file).read_bytes(), (whole / file).read_bytes())

    def test_at_a_kernel(self):
        self.assert_reported("1:kernel:1200", r"call actor_\w+, \w+")
        self.assert_goes_on()

    def test_in_a_graph(self):
        self.assert_reported("1:graph:12", "(generate|evaluate)")
        self.assert_goes_on()

    def test_in_a_copy_for_a_checkpoint(self):
        self.assert_reported("1:copy:4", "save", "cudaErrorECCUncorrectable: uncorrectable ECC error",
                             SIMULATED_GPU_LOST_AS="ecc")
        self.assert_goes_on()

    def test_in_an_operation_of_nccl(self):
        self.assert_reported("1:nccl:8", "call actor_train, train_step", "cudaErrorUnknown", SIMULATED_GPU_LOST_AS="bus")
        self.assert_goes_on()

    def test_while_it_is_loaded(self):
        done = train(self.folder / "lost", "grpo_tiny", 2, 2, *self.MORE, "model.actor.dtype=bf16",
                     SIMULATED_GPU_LOST="1:kernel:1")
        self.assertEqual(done.returncode, 4, done.stderr[-6000:])
        self.assertRegex(done.stderr, r"GPU 1 \(ffff:00:01.0\) of \S+ is lost")

    def test_while_a_model_is_read(self):
        model = self.trained("model", "grpo_tiny", 2, 0, "experiment.total_steps=1") / "models" / "latest" / "actor"
        done = train(self.folder / "lost", "grpo_tiny", 2, 2, *self.MORE, f"model.actor.path={model.resolve()}",
                     SIMULATED_GPU_LOST="0:copy:2")
        self.assertEqual(done.returncode, 4, done.stderr[-6000:])
        self.assertRegex(done.stderr, r"GPU 0 \(ffff:00:00.0\) of \S+ is lost")


class Trace(Jobs):
    def test_has_a_track_of_the_gpu_with_a_span_for_each_call(self):
        run = self.trained("run", "grpo_tiny", 2, 2, "checkpoint.every_steps=2")
        for worker in range(2):
            lines = (run / f"trace/worker-{worker}.json").read_text().splitlines()[1:]
            events = [json.loads(line.rstrip(",")) for line in lines]
            track, = [event["tid"] for event in events if event["name"] == "thread_name"
                      and event["args"]["name"] == "gpu"]
            stalls = [event for event in events if event["name"] == "save"]  # until the state is copied
            self.assertEqual([event["args"]["step"] for event in stalls], ["2", "4"])
            spans = [event for event in events if event.get("cat") == "gpu"]
            self.assertEqual({event["tid"] for event in spans}, {track})
            self.assertEqual([(event["name"], event["args"]["step"]) for event in spans],
                             [(call, str(step)) for step in range(1, 5)
                              for call in ("actor_gen", "reward", "actor_train")])

    def test_opens_its_spans_as_nvtx_ranges(self):
        done = train(self.folder, "grpo_tiny", 2, 2, "experiment.total_steps=1", NVTX_INJECTION64_PATH=NVTX_LISTENER)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        for name in ("call: actor_gen", "call: actor_train"):  # of each worker
            self.assertEqual(done.stderr.count(f"NVTX opened {name}\n"), 2, name)
        self.assertIn("NVTX opened transfer: data_transfer\n", done.stderr)
        # Of each worker: two layers, each a group of its own, upwards and downwards.
        for name in ("forward: layer 0", "forward: layer 1", "backward: layer 1", "backward: layer 0",
                     "prefill: layer 0", "decode: layer 1"):
            self.assertGreaterEqual(done.stderr.count(f"NVTX opened {name}\n"), 2, name)
        self.assertEqual(done.stderr.count("NVTX opened "), done.stderr.count("NVTX closed\n"))


class OutOfMemory(Jobs):
    """Wide layers: parameters and moments take 24 MiB, of which a step needs several times as much."""

    def assert_ends(self, mib, settings, *parts):
        done = train(self.folder, "grpo_tiny", 2, 2, "model.actor.intermediate_size=16384", "evaluate.max_batch=4",
                     "model.actor.offload=never", *settings, SIMULATED_GPU_BYTES=mib << 20)
        self.assertEqual(done.returncode, 3, done.stderr[-4000:])
        for part in ("there is no memory on the GPU for ", r"another \d+\.\d\d MiB",
                     rf"MiB free of the GPU's {mib}\.00 MiB; tensors hold \d+", *parts):
            self.assertRegex(done.stderr, part)

    def test_for_parameters(self):
        self.assert_ends(8, [], "for the parameters of role actor", "more tensor or pipeline ranks")

    def test_for_the_optimizer(self):
        self.assert_ends(18, [], "optimizer state of role actor", "there whatever runs: parameters of actor.0 12.1 MiB")

    def test_for_generation(self):
        self.assert_ends(100, ["call.actor_gen.group_size=64", "call.actor_gen.max_cache_tokens=100000"],
                         "step 1, role actor, call actor_gen, generate: .* for generate of role actor",
                         "lower call.actor_gen.max_batch",
                         "parameters of actor.0 12.1 MiB, first moments of actor.0 6.0 MiB, second moments")

    def test_for_training(self):
        self.assert_ends(100, ["call.actor_gen.max_batch=4"], "step 1, role actor, call actor_train, train_step: .* for train_step of role actor",
                         "set call.actor_train.max_tokens_per_micro_batch", "parameters of actor.0 12.1 MiB")


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
    parser.add_argument("--nvtx-listener", required=True)
    options, rest = parser.parse_known_args()
    PROGRAM, ON_GPUS = str(pathlib.Path(options.program).resolve()), options.on_gpus
    NVTX_LISTENER = str(pathlib.Path(options.nvtx_listener).resolve())
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
