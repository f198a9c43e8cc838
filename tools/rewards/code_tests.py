"""Whether the program in a response passes its tests, in a sandbox: a reward of 1 or 0.

    function = tools/rewards/code_tests.py:reward

The program is the last fenced block of the response (```python ... ```), else all of it. Its tests are in the
record, as a field or as the answer:
    "tests": ["assert add(2, 3) == 5", ...]                     statements, each run after the program
    "cases": [{"input": "2 3\\n", "output": "5\\n"}, ...]         what it reads from stdin and must write to stdout
All must pass; the share that did is the metric <call>/reward/passed, the share of programs that ran into a limit
<call>/reward/limited. Each program has its own sandbox without network, sees no files but those of Python, and is
limited in time, memory, processes and what it writes. Statements run in the process of the program, which can
cheat them; cases are compared outside.

Environment of the job:
    ORRERY_CODE_SANDBOX   bubblewrap, container or none; unset: the first of the two that works here. Without one
                          the job does not start: `none` runs what a model wrote with the rights of the job.
    ORRERY_CODE_SECONDS   8     of computing, for all statements or one case; three times that of any time
    ORRERY_CODE_MEMORY_MIB      512   of a process
    ORRERY_CODE_IMAGE     python:3.12-slim, or what docker, podman or apptainer has by another name
needs: bubblewrap (Debian: apt-get install bubblewrap) and user namespaces; or docker, podman or apptainer
by hand: code_tests.py                        says which sandbox works here
"""
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

KINDS = ("bubblewrap", "container")
MOST_OUTPUT = 1 << 20  # bytes that are read of a program
MOST_FILES = 16 << 20  # bytes that it may write
MOST_PROCESSES = 32
NOBODY = 65534

# What runs in the sandbox: the program, then the statements, in a process that then writes the token.
HARNESS = r"""
import json, os, sys
questions = os.fdopen(os.dup(0), "rb")
sys.stdin = open(os.devnull)
os.dup2(sys.stdin.fileno(), 0)
answers = os.dup(1)
os.dup2(2, 1)
space = {"__name__": "program"}
exec(compile(json.loads(questions.readline()), "program.py", "exec"), space)
question = json.loads(questions.readline())
for number, test in enumerate(question["tests"]):
    try:
        exec(compile(test, "test %d" % number, "exec"), dict(space))
        os.write(answers, ("%s %d\n" % (question["token"], number)).encode())
    except BaseException as error:
        sys.stderr.write("test %d: %s: %s\n" % (number, type(error).__name__, str(error)[:200]))
os._exit(0)
"""


class Sandbox:
    """How a program is started here, by kind. Raises RuntimeError where there is no such sandbox."""

    def __init__(self, kind=None):
        self.seconds = float(os.environ.get("ORRERY_CODE_SECONDS", "8"))
        self.memory_bytes = int(os.environ.get("ORRERY_CODE_MEMORY_MIB", "512")) << 20
        self.image = os.environ.get("ORRERY_CODE_IMAGE", "python:3.12-slim")
        kind = kind or os.environ.get("ORRERY_CODE_SANDBOX", "")
        if kind and kind not in (*KINDS, "none"):
            raise RuntimeError(f"ORRERY_CODE_SANDBOX = {kind}: must be bubblewrap, container or none")
        problems = {}
        for self.kind in [kind] if kind else KINDS:
            problems[self.kind] = self.problem()
            if problems[self.kind] is None:
                return
        said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise RuntimeError(f"there is no sandbox for the programs of a model ({said}). Install bubblewrap (Debian: "
                           "apt-get install bubblewrap) on every node; or set ORRERY_CODE_SANDBOX=none to run them "
                           "with the rights of the job")

    def problem(self):
        """Why this kind does not work here, or None: it is tried."""
        if self.kind == "none":
            return None
        self.engine = next(filter(shutil.which, ["bwrap"] if self.kind == "bubblewrap" else
                                  ["podman", "docker", "apptainer"]), None)
        if self.engine is None:
            return "not installed"
        try:
            done = self.run(["-c", "print(6 * 7)"], b"", seconds=60 if self.kind == "container" else 20)
        except OSError as error:
            return str(error)
        if done.output.strip() == b"42":
            return None
        return done.errors.decode(errors="replace").strip()[-300:] or f"it ended with status {done.status}"

    def command(self, arguments, name):
        python, prefix = interpreter()
        if self.kind == "none":
            return [python, "-I", "-B", *arguments]
        if self.kind == "bubblewrap":
            binds = [word for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", prefix)
                     if path for word in ("--ro-bind-try", path, path)]
            return ["bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv",
                    "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", *binds, "--proc", "/proc",
                    "--dev", "/dev", "--size", str(MOST_FILES * 4), "--tmpfs", "/tmp", "--chdir", "/tmp",
                    "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", python, "-I", "-B", *arguments]
        if self.engine == "apptainer":
            image = self.image if "://" in self.image or os.path.exists(self.image) else f"docker://{self.image}"
            return ["apptainer", "exec", "--containall", "--no-home", "--net", "--network", "none", "--cleanenv",
                    image, "python3", "-I", "-B", *arguments]
        return [self.engine, "run", "--rm", "--interactive", "--name", name, "--network", "none", "--read-only",
                "--tmpfs", f"/tmp:size={MOST_FILES * 4}", "--workdir", "/tmp", "--user", f"{NOBODY}:{NOBODY}",
                "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(MOST_PROCESSES),
                "--memory", str(self.memory_bytes), "--memory-swap", str(self.memory_bytes), "--cpus", "1",
                self.image, "python3", "-I", "-B", *arguments]

    def run(self, arguments, given, seconds=None):
        """Python with these arguments and this stdin, in the sandbox."""
        seconds = seconds or self.seconds  # of computing: how busy the machine is matters little
        name = f"orrery-{secrets.token_hex(8)}"
        drops = os.getuid() == 0 and self.kind == "bubblewrap"  # root's number of processes has no limit
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as stdin:
            stdin.write(given)
            stdin.seek(0)
            process = subprocess.Popen(
                self.command(arguments, name), stdin=stdin, stdout=output, stderr=errors, cwd="/",
                start_new_session=True, env=self.environment(), preexec_fn=lambda: self.limit(seconds),
                **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if drops else {}))
            is_late = False
            try:
                process.wait(3 * seconds)
            except subprocess.TimeoutExpired:
                is_late = True
            finally:
                self.end(process, name)
            return Done(process.returncode, is_late, head(output), head(errors))

    def environment(self):
        if self.kind == "container":  # its client wants its own
            return None
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def limit(self, seconds):
        """In the process that becomes the program: an engine of containers sets its own limits."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.kind == "container":
            return
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILES, MOST_FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        if self.kind == "bubblewrap":
            resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))

    def end(self, process, name):
        """With all that it started: of bubblewrap by its namespace, of a container by its engine."""
        if self.kind == "container" and self.engine != "apptainer" and process.poll() is None:
            subprocess.run([self.engine, "kill", name], capture_output=True)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()


class Done:
    def __init__(self, status, is_late, output, errors):
        self.status, self.is_late, self.output, self.errors = status, is_late, output, errors

    def is_limited(self):
        return self.is_late or self.status in (-signal.SIGKILL, -signal.SIGXCPU, 137, 128 + signal.SIGXCPU) or \
            b"MemoryError" in self.errors or b"BlockingIOError" in self.errors


def head(file):
    file.seek(0)
    return file.read(MOST_OUTPUT)


def interpreter():
    """A Python that another user may run, and the folder that it needs beside the system's."""
    if not sys.base_prefix.startswith("/usr") and os.path.exists("/usr/bin/python3"):
        return "/usr/bin/python3", None
    return os.path.realpath(sys.executable), None if sys.base_prefix.startswith("/usr") else sys.base_prefix


def program_in(response):
    blocks = re.findall(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)```", response, re.DOTALL | re.IGNORECASE)
    return blocks[-1] if blocks else response


def tests_of(record):
    """(statements, cases) of the record. Raises ValueError where it has none."""
    fields = record.get("fields") or {}
    statements, cases = fields.get("tests", []), fields.get("cases", [])
    if not statements and not cases and record.get("answer"):
        try:
            given = json.loads(record["answer"])
        except ValueError:
            given = record["answer"]
        if isinstance(given, list) and given and isinstance(given[0], dict):
            cases = given
        else:
            statements = given
    if isinstance(statements, str):
        statements = [statements]
    if not statements and not cases:
        raise ValueError("the record has no tests: a field tests or cases, or an answer, is expected (the inputs of "
                         "the call must have fields or answers)")
    return [str(test) for test in statements], cases


def judge(record, sandbox):
    """The share of its tests that a program passed, and whether it ran into a limit."""
    statements, cases = tests_of(record)
    program = program_in(record["response"])
    passed, limited = 0, False
    if statements:
        token = secrets.token_hex(16)
        lines = json.dumps(program) + "\n" + json.dumps({"tests": statements, "token": token}) + "\n"
        done = sandbox.run(["-c", HARNESS], lines.encode())
        passed += len(set(done.output.split(b"\n")) & {f"{token} {i}".encode() for i in range(len(statements))})
        limited |= done.is_limited()
    for case in cases:
        done = sandbox.run(["-c", program], str(case["input"]).encode())
        passed += done.status == 0 and not done.is_late and \
            done.output.decode(errors="replace").split() == str(case["output"]).split()
        limited |= done.is_limited()
    return passed / (len(statements) + len(cases)), limited


SANDBOX = None if __name__ == "__main__" else Sandbox()  # tried when the job starts


def reward(records):
    rewards = []
    for record in records:
        passed, limited = judge(record, SANDBOX)
        rewards.append({"reward": float(passed == 1), "passed": passed, "limited": float(limited)})
    return rewards


if __name__ == "__main__":
    for kind in KINDS:
        try:
            print(f"{kind}: {Sandbox(kind).engine} works")
        except RuntimeError as error:
            print(error)
