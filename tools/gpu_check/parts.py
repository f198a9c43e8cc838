#!/usr/bin/env python3
"""Runs the parts of tools/gpu_check.sh one after another and writes DIR/gpu-report.json.

    tools/gpu_check/parts.py --programs DIR --out DIR [--minutes 10] [--library-path PATH]

The minutes are cut into shares; what a part leaves over goes to those after it. Benchmarks stop by themselves
when their share is over and say what they left out; a test that goes on half as long again is ended and has
failed. What the report holds: docs/gpu.md.

exit code: 0 nothing failed, 1 something failed, 2 bad usage or no GPU, 5 the report cannot be written
"""
import argparse
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

SCHEMA = 1
HERE = pathlib.Path(__file__).resolve().parent
# A line of GoogleTest for each test that ended.
TEST = re.compile(r"^\[ *(OK|FAILED|SKIPPED) *\] (\S+) \(\d+ ms\)$", re.MULTILINE)
STARTED = re.compile(r"^\[ RUN +\] (\S+)$", re.MULTILINE)


@dataclasses.dataclass
class Part:
    name: str
    share: int
    kind: str  # tests: a GoogleTest program; figures: a program that writes a list of them
    command: list
    told: tuple = ()  # options of what Check.told() knows
    program: str = ""  # of ours that a script starts
    package: str = ""  # of Python that a script needs, and with it this machine's torch


PYTHON = sys.executable
PARTS = (
    Part("tests of kernels", 5, "tests", ["test_kernels", "--gtest_filter=*Cuda.*"]),
    Part("tests of communicators", 3, "tests", ["test_comm", "--gtest_filter=EveryCommunicator/Nccl.*"]),
    Part("parity of models", 8, "tests", ["test_decoder_on_gpus"]),
    Part("kernels", 8, "figures", ["gpu_check"], told=("taken-before",)),
    Part("kernels beside torch", 4, "figures", [PYTHON, HERE / "torch_kernels.py"], told=("report",), package="torch"),
    Part("main job", 6, "figures", [PYTHON, HERE / "job.py"], told=("program", "configs", "mpirun", "sizes"),
         program="orrery"),
    Part("decoding", 12, "figures", ["model_check", "--only", "decoding"], told=("fixtures",)),
    Part("training", 12, "figures", ["model_check", "--only", "training"], told=("fixtures",)),
    Part("models beside Hugging Face", 10, "figures", [PYTHON, HERE / "transformers_models.py"],
         told=("report", "fixtures"), package="transformers"),
)
# What runs LibTorch and NCCL of the machine.
WITH_LIBTORCH = ("test_comm", "test_decoder_on_gpus", "model_check", "orrery")
NOT_THERE_YET = {
    "memory of communicators over NCCL": "no program measures it",
    "decoding by graph against eager decoding": "no program measures it",
    "benchmark of weights to the generator": "one GPU generates from the weights as training left them; parameters "
                                             "that move between layouts want several",
}
PEERS = {"vllm": "decoding", "sglang": "decoding", "trl": "a GRPO step", "llmq": "training"}


def fail(code, text):
    print(f"gpu_check: {text}", file=sys.stderr)
    sys.exit(code)


def version_of(package):
    """None: it is not installed."""
    if importlib.util.find_spec(package) is None and shutil.which(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def commit_of(programs):
    """Of the checkout, or as the packed programs say."""
    packed = programs.parent / "commit"
    if packed.is_file():
        return packed.read_text().strip()
    git = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=40"],
                         capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def built_torch(programs):
    """Version of torch whose libraries packed programs want; None: they were built here."""
    packed = programs.parent / "torch_version"
    return packed.read_text().strip() if packed.is_file() else None


def ask_driver():
    """(driver's version, bytes of the first GPU that are taken), or (None, None) without nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=driver_version,memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        version, mib = answer.splitlines()[0].split(",")
        return version.strip(), int(mib) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None, None


def cpu_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def run(command, seconds, environment):
    """(exit code or None where it had to be ended, standard output, standard error)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          env=environment) as process:
        try:
            out, err = process.communicate(timeout=seconds)
            return process.returncode, out, err
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return None, out, err


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no word of why"


def missing_libraries(program, environment):
    """What the loader does not find for a program: names of libraries, and versions of them."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, env=environment)
    lines = [line for line in (found.stdout + found.stderr).splitlines() if "not found" in line]
    return sorted({line.split("version ")[1].split()[0].strip("`'") if "version " in line else line.split()[0]
                   for line in lines})


def beside(programs, name):
    """A folder that packed programs have beside them, and a checkout in a place of its own."""
    packed = programs.parent / name
    if packed.is_dir():
        return packed
    return HERE.parents[1] / {"fixtures": "tests/fixtures", "configs": "configs"}[name]


class Check:
    """One run of all parts; the report is written anew after each."""

    def __init__(self, options):
        self.programs, self.out, self.minutes = options.programs, options.out, options.minutes
        self.environment = dict(os.environ, OMP_NUM_THREADS="1")
        if options.library_path:
            self.environment["LD_LIBRARY_PATH"] = options.library_path
        self.mpirun = shutil.which("mpirun")
        packed = self.programs.parent / "openmpi"
        if packed.is_dir():
            self.mpirun = packed / "bin/mpirun"
            self.environment |= {"OPAL_PREFIX": str(packed), "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader,tcp",
                                 "OMPI_MCA_btl_vader_single_copy_mechanism": "none",  # containers may forbid it
                                 "PMIX_MCA_pcompress_base_silence_warning": "1"}
        self.environment["ORRERY_HF_DIR"] = str(beside(self.programs, "fixtures") / "hf")
        self.driver, self.taken_before = ask_driver()
        self.report = {
            "schema": SCHEMA, "simulated": None, "outcome": "failed",
            "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": commit_of(self.programs), "minutes": self.minutes,
            "machine": {"driver": self.driver, "torch": version_of("torch"), "cpu": cpu_name(),
                        "cores": os.cpu_count(), "python": platform.python_version()},
            "parts": [], "figures": []}

    def write(self):
        target = self.out / "gpu-report.json"
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(".json.new")
            draft.write_text(json.dumps(self.report, indent=1) + "\n")
            draft.replace(target)
        except OSError as error:
            fail(5, f"{target} cannot be written: {error.strerror}")

    def program(self, name):
        return self.programs / name if isinstance(name, str) and "/" not in name else name

    def look_at_machine(self):
        """Ends this program where there is no GPU."""
        program, facts = self.program("gpu_check"), self.out / "machine.json"
        if not program.is_file():
            fail(2, f"{program} is not there: it is what tools/gpu_check.sh builds")
        if missing := missing_libraries(program, self.environment):
            fail(2, f"not found: {', '.join(missing)}; expected in LD_LIBRARY_PATH, a CUDA toolkit or Python's torch")
        code, _, err = run([program, "--out", facts, "--only", "machine"], 120, self.environment)
        if code != 0:
            print(err, end="", file=sys.stderr)
            fail(code if code in (2, 5) else 1, f"{program.name} did not start: {last_line(err)}")
        self.report["machine"].update(json.loads(facts.read_text())["machine"])
        self.report["simulated"] = self.report["machine"].pop("simulated")
        facts.unlink()

    def told(self, option):
        """What a program is told by this option."""
        return {"taken-before": str(self.taken_before or 0), "report": self.out / "gpu-report.json",
                "program": self.programs / "orrery", "mpirun": self.mpirun,
                "sizes": self.report["machine"].get("sizes", "full"),
                "fixtures": beside(self.programs, "fixtures"), "configs": beside(self.programs, "configs")}[option]

    def add_part(self, name, outcome, why="", **more):
        part = {"name": name, "outcome": outcome, **({"why": why} if why else {}), **more}
        self.report["parts"].append(part)
        self.write()
        print(f"gpu_check: {name}: {outcome}{': ' + why if why else ''}", flush=True)

    def why_not(self, part):
        """Why a part cannot run here; empty: it can."""
        name = part.program or part.command[0]
        program = self.program(name)
        if not pathlib.Path(program).is_file():
            return f"{program} is not there"
        if missing := missing_libraries(program, self.environment):
            return f"not found: {', '.join(missing)}"
        simulated = self.report["simulated"]
        if name in WITH_LIBTORCH:
            if simulated and "nccl" not in os.environ.get("LD_PRELOAD", ""):
                return "a simulated GPU without a simulated NCCL"
            built_for, here = built_torch(self.programs), version_of("torch")
            if here and built_for and here.split("+")[0] != built_for:
                return f"built for torch {built_for}, here is {here}"
        if "mpirun" in part.told and not self.mpirun:
            return "no mpirun here"
        if part.package:
            missing = [package for package in ("torch", part.package) if not version_of(package)]
            return "a simulated GPU" if simulated else f"{missing[0]} is not installed" if missing else ""
        return ""

    def run_tests(self, part, seconds):
        command = [self.program(part.command[0]), *part.command[1:]]
        began = time.monotonic()
        code, out, err = run(command, 1.5 * seconds + 10, self.environment)
        ended = {name: outcome for outcome, name in TEST.findall(out)}
        names = {kind: [n for n, outcome in ended.items() if outcome == kind] for kind in ("OK", "FAILED", "SKIPPED")}
        why, outcome = "", "passed"
        if code is None:
            running = [name for name in STARTED.findall(out) if name not in ended]
            outcome = "failed"
            why = f"did not end within {1.5 * seconds + 10:.0f} s, {', '.join(running) or 'no test'} running"
        elif code != 0 or names["FAILED"]:
            outcome, why = "failed", ", ".join(names["FAILED"]) or f"exit code {code}: {last_line(err)}"
        elif not names["OK"]:
            outcome, why = ("skipped", last_line(err)) if names["SKIPPED"] else ("failed", "no test ran")
        if outcome == "failed":
            (self.out / f"{part.name.replace(' ', '-')}.log").write_text(out + err)
        self.add_part(part.name, outcome, why, seconds=round(time.monotonic() - began, 1),
                      share_seconds=round(seconds, 1), n_passed=len(names["OK"]), n_failed=len(names["FAILED"]),
                      n_skipped=len(names["SKIPPED"]))

    def run_figures(self, part, seconds):
        result = self.out / "figures.json"
        result.unlink(missing_ok=True)
        command = [self.program(part.command[0]), *part.command[1:], "--out", result, "--seconds", f"{seconds:.1f}"]
        for option in part.told:
            command += [f"--{option}", self.told(option)]
        # Python's torch finds its own libraries.
        environment = dict(os.environ) if part.package else self.environment
        began = time.monotonic()
        code, _, err = run(command, 1.5 * seconds + 30, environment)
        figures = json.loads(result.read_text())["figures"] if result.is_file() else []
        result.unlink(missing_ok=True)
        for figure in figures:
            self.report["figures"].append({"part": part.name, "simulated": self.report["simulated"], **figure})
        counts = {outcome: sum(f["outcome"] == outcome for f in figures) for outcome in ("passed", "failed", "skipped")}
        outcome = "failed" if code != 0 or counts["failed"] or not figures else "passed"
        why = ""
        if code is None:
            why = f"did not end within {1.5 * seconds + 30:.0f} s; {len(figures)} figures were taken before"
        elif counts["failed"]:
            why = f"{counts['failed']} of {len(figures)} figures failed"
        elif outcome == "failed":
            why = f"exit code {code}: {last_line(err)}"
        elif counts["skipped"] == len(figures):
            outcome, why = "skipped", figures[0]["why"]
        elif counts["skipped"]:
            why = f"{counts['skipped']} of {len(figures)} figures were left out"
        if outcome == "failed":
            print(err, end="", file=sys.stderr)
        self.add_part(part.name, outcome, why, seconds=round(time.monotonic() - began, 1),
                      share_seconds=round(seconds, 1), **{f"n_{kind}": n for kind, n in counts.items()})

    def run_all(self):
        self.write()
        self.look_at_machine()
        end = time.monotonic() + 60 * self.minutes
        for i, part in enumerate(PARTS):
            left = max(end - time.monotonic(), 0)
            seconds = left * part.share / sum(other.share for other in PARTS[i:])
            if why := self.why_not(part):
                self.add_part(part.name, "skipped", why)
            elif left == 0:
                self.add_part(part.name, "skipped", f"cut: the {self.minutes:g} minutes are over")
            else:
                getattr(self, f"run_{part.kind}")(part, seconds)
        for name, why in NOT_THERE_YET.items():
            self.add_part(name, "skipped", f"not there yet: {why}")
        for name, what in PEERS.items():
            version = version_of(name)
            self.add_part(f"{name}: {what}", "skipped",
                          f"found ({version}), not there yet: nothing measures it" if version else "not found")
        failed = any(entry["outcome"] == "failed" for entry in self.report["parts"] + self.report["figures"])
        self.report["outcome"] = "failed" if failed else "passed"
        self.write()
        return 1 if failed else 0


def minutes(text):
    number = float(text)
    if not 0 < number <= 1440:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder with gpu_check and the others")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the report")
    parser.add_argument("--minutes", type=minutes, default=10)
    parser.add_argument("--library-path", help="LD_LIBRARY_PATH of the programs, not of Python")
    sys.exit(Check(parser.parse_args()).run_all())


if __name__ == "__main__":
    main()
