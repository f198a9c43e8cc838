"""Whether the program in a response passes its tests, in a sandbox: a reward of 1 or 0.

    function = tools/rewards/code_tests.py:reward

The program is the last fenced block of Python in the response (```python ... ```), else the last that names no
language, else all of it; what stands before </think> counts only where no block follows. Its tests are in the
record, as a field or as the answer:
    "tests": ["assert add(2, 3) == 5", ...]                     statements, each run after the program
    "cases": [{"input": "2 3\\n", "output": "5\\n"}, ...]         what it reads from stdin and must write to stdout
All must pass; the share that did is the metric <call>/reward/passed, the share of programs that ran into a limit,
which ends their tests, <call>/reward/limited. Each program has its own sandbox without network, sees no files but
those of Python, and is limited in time, memory, processes and what it writes. Statements run in the process of the
program, which can cheat them; cases are compared outside. Where Python does not even begin in the sandbox, that is
the machine's fault: an exception, so the answer has no reward.

Environment of the job:
    ORRERY_CODE_SANDBOX   bubblewrap, container or none; unset: the first of the two that works here. Without one
                          the job does not start: `none` runs what a model wrote with the rights of the job.
    ORRERY_CODE_SECONDS   8     of computing, for all statements or one case; three times that of any time
    ORRERY_CODE_MEMORY_MIB      512   of each process (docker and podman: of all together as well)
    ORRERY_CODE_IMAGE     python:3.12-slim, or what docker, podman or apptainer has by another name
needs: bubblewrap (Debian: apt-get install bubblewrap) and user namespaces; or docker, podman or apptainer
by hand: code_tests.py                        says which sandbox works here
"""
import json
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

KINDS = ("bubblewrap", "container")
MOST_OUTPUT = 1 << 20  # bytes that are kept of what a program writes to stdout
MOST_FILES = 16 << 20  # bytes that it may write to it, and to each file
MOST_IN_MEMORY = str(4 * MOST_FILES)  # of /tmp, and of /dev/shm
MOST_PROCESSES = 32
NOBODY = 65534
BEGAN = b"began\n"

# What runs in the sandbox. The limits are set here, inside: the number of processes is then that of the sandbox's
# own user namespace. A program with statements has no stdin, and they run after it, in a process that then writes
# the token; another one has what follows the first line as its stdin.
HARNESS = r"""
import json, os, resource, sys
questions = os.fdopen(os.dup(0), "rb")
order = json.loads(questions.readline())
if order["statements"]:
    given = os.open(os.devnull, os.O_RDONLY)
else:
    given = os.memfd_create("stdin")
    with open(given, "wb", closefd=False) as file:
        file.write(questions.read())
    os.lseek(given, 0, os.SEEK_SET)
os.dup2(given, 0)
os.close(given)
for name, limit in order["limits"].items():
    name = getattr(resource, "RLIMIT_" + name)
    most = resource.getrlimit(name)[1]
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(name, (limit, limit))
os.write(1, b"began\n")
sys.argv[:] = ["program.py"]
if not order["statements"]:
    questions.close()
    space = type(sys)("__main__")
    sys.modules["__main__"] = space
    exec(compile(order["program"], "program.py", "exec", dont_inherit=True), space.__dict__)
    sys.exit()
answers = os.dup(1)
os.dup2(2, 1)
space = {"__name__": "program"}
exec(compile(order["program"], "program.py", "exec", dont_inherit=True), space)
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
        """Why this kind does not work here, or None: it is tried, each of its engines in turn."""
        if self.kind == "none":
            self.engine = None
            return None
        said = []
        for name in ENGINES[self.kind]:
            self.engine = shutil.which(name)
            if self.engine is None:
                continue
            try:
                done = self.run("print(6 * 7)", seconds=60 if self.kind == "container" else 20)
            except (OSError, RuntimeError) as error:
                said.append(f"{name}: {error}")
                continue
            if done.output.strip() == b"42":
                return None
            said.append(f"{name}: {done.errors.decode(errors='replace').strip()[-300:] or done.status}")
        return "; ".join(said) or "not installed"

    def command(self, name):
        python, prefix = interpreter()
        python = [python, "-I", "-B", "-c", HARNESS]
        if self.kind == "none":
            return python
        if self.kind == "bubblewrap":
            binds = [word for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", prefix)
                     if path for word in ("--ro-bind-try", path, path)]
            # As process 1 of its namespace Python is bwrap's own child, which leaves nobody a zombie to reap.
            return [self.engine, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1",
                    "--clearenv", "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", *binds,
                    "--proc", "/proc", "--dev", "/dev", "--size", MOST_IN_MEMORY, "--tmpfs", "/dev/shm",
                    "--size", MOST_IN_MEMORY, "--tmpfs", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/",
                    "--chdir", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", *python]
        python[0] = "python3"
        if self.is_apptainer():
            image = self.image if "://" in self.image or os.path.exists(self.image) else f"docker://{self.image}"
            return [self.engine, "exec", "--containall", "--no-home", "--net", "--network", "none", "--cleanenv",
                    image, *python]
        return [self.engine, "run", "--rm", "--interactive", "--name", name, "--network", "none", "--read-only",
                "--tmpfs", f"/tmp:size={MOST_IN_MEMORY}", "--shm-size", MOST_IN_MEMORY, "--workdir", "/tmp",
                "--user", f"{NOBODY}:{NOBODY}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                "--pids-limit", str(MOST_PROCESSES), "--memory", str(self.memory_bytes),
                "--memory-swap", str(self.memory_bytes), "--cpus", "1", self.image, *python]

    def is_apptainer(self):
        return self.kind == "container" and os.path.basename(self.engine) == "apptainer"

    def limits(self, seconds, user):
        """What Python sets for itself before the program begins."""
        limits = {"CORE": 0, "CPU": int(seconds) + 1, "AS": self.memory_bytes, "FSIZE": MOST_FILES, "NOFILE": 64}
        if self.kind == "bubblewrap" and counts_by_namespace():
            limits["NPROC"] = MOST_PROCESSES
        elif self.kind == "bubblewrap" or self.is_apptainer():  # of the user, on the whole machine
            limits["NPROC"] = threads_of(user) + MOST_PROCESSES
        return limits

    def run(self, program, given=b"", statements=False, seconds=None):
        """The program with this stdin, or with its statements, in the sandbox. Raises RuntimeError where Python
        does not begin there."""
        seconds = seconds or self.seconds  # of computing: how busy the machine is matters little
        name = f"orrery-{secrets.token_hex(8)}"
        drops = os.getuid() == 0 and self.kind == "bubblewrap"  # root's number of processes has no limit
        order = {"program": program, "statements": statements,
                 "limits": self.limits(seconds, NOBODY if drops else os.getuid())}
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(order).encode() + b"\n" + given)
            stdin.seek(0)
            with subprocess.Popen(
                    self.command(name), stdin=stdin, stdout=subprocess.PIPE, stderr=errors, cwd="/",
                    start_new_session=True, env=self.environment(),
                    **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if drops else {})) as process:
                try:
                    output, is_over = read_all(process, 3 * seconds)
                finally:
                    self.end(process, name)
            errors.seek(0)
            done = Done(process.returncode, is_over, output, errors.read(MOST_OUTPUT))
        if not output.startswith(BEGAN):
            said = done.errors.decode(errors="replace").strip()[-300:]
            raise RuntimeError(f"Python did not begin in the sandbox ({self.kind}, {self.engine}), which is not the "
                               f"program's fault: status {done.status}{', too late' if is_over else ''}: {said}")
        return done

    def environment(self):
        if self.kind == "container":  # its client wants its own
            return None
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def end(self, process, name):
        """With all that it started: of bubblewrap by its namespace, of a container by its engine."""
        if process.poll() is None:
            if self.kind == "container" and not self.is_apptainer():
                subprocess.run([self.engine, "kill", name], capture_output=True)
            elif self.kind == "bubblewrap":
                for child in children_of(process.pid):  # first: bwrap then reaps it, and ends
                    signal_to(os.kill, child)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
        signal_to(os.killpg, process.pid)
        process.wait()


ENGINES = {"bubblewrap": ["bwrap"], "container": ["podman", "docker", "apptainer"]}


class Done:
    def __init__(self, status, is_over, output, errors):
        self.status, self.is_over, self.errors = status, is_over, errors
        self.output = output[len(BEGAN):]

    def is_limited(self):
        return self.is_over or self.status in (-signal.SIGKILL, -signal.SIGXCPU, 137, 128 + signal.SIGXCPU) or \
            b"MemoryError" in self.errors or b"BlockingIOError" in self.errors


def read_all(process, seconds):
    """The beginning of what it writes until it ends, and whether it took too long or wrote too much."""
    output, n_bytes, end = bytearray(), 0, time.monotonic() + seconds
    stdout = process.stdout.fileno()
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    while time.monotonic() < end:
        has_ended = process.poll() is not None  # before the look: what it wrote is there by then
        if not poll.poll(0 if has_ended else 50):
            if has_ended:  # what it started may hold its stdout
                return bytes(output), False
            continue
        got = os.read(stdout, 1 << 16)
        if not got:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                break
            return bytes(output), False
        n_bytes += len(got)
        output += got[:MOST_OUTPUT - len(output)]
        if n_bytes > MOST_FILES:
            break
    return bytes(output), True


def signal_to(kill, pid):
    try:
        kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def counts_by_namespace():
    """Whether a limit on processes counts those of the user namespace alone (Linux 5.14)."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) >= (5, 14)


def threads_of(user):
    """How many threads a user has on this machine."""
    n = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == user:
                n += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:  # it has just ended
            pass
    return n


def interpreter():
    """A Python that another user may run, and the folder that it needs beside the system's."""
    if not sys.base_prefix.startswith("/usr") and os.path.exists("/usr/bin/python3"):
        return "/usr/bin/python3", None
    return os.path.realpath(sys.executable), None if sys.base_prefix.startswith("/usr") else sys.base_prefix


FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^`]*)\Z")
PYTHON = re.compile(r"py(thon)?[\d.]*\Z", re.IGNORECASE)


def blocks_in(text):
    """(language, content) of the fenced blocks of a text; the last one may be left open."""
    blocks, is_open, content = [], False, []
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = FENCE.match(line)
        if not is_open:
            before, mark, info = line.rpartition("```")
            if fence:
                indent, mark, info = fence.groups()
                is_open = True
            elif mark and before.count("`") % 2 == 0 and PYTHON.match(info.strip()):  # So: ```python
                indent, is_open = "", True
            content = []
            continue
        # Deeper than where the block began, a fence is part of it: of a docstring.
        closes = fence and fence.group(2).startswith(mark) and len(fence.group(3).split()) != 1 and \
            len(fence.group(1).expandtabs()) <= max(len(indent.expandtabs()), 1)
        closes_after_text = not fence and line.endswith(mark) and line.count(mark) == 1
        if closes_after_text:
            line = line[:-len(mark)]
        if not closes:
            own = len(line) - len(line.lstrip(" \t"))
            content.append(line[min(own, len(indent)):])
        if closes or closes_after_text:
            blocks.append((language_of(info), "\n".join(content) + "\n"))
            is_open = False
    if is_open:
        blocks.append((language_of(info), "\n".join(content) + "\n"))
    return blocks


def language_of(info):
    return (info.strip("{}. ").split() or [""])[0]


def program_in(response):
    """Of the last block in Python, else of the last one that names no language, else all."""
    for text in (response.rpartition("</think>")[2], response):
        blocks = blocks_in(text)
        for is_wanted in (PYTHON.match, lambda language: not language):
            programs = [content for language, content in blocks if is_wanted(language)]
            if programs:
                return programs[-1]
    return response


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
        line = json.dumps({"tests": statements, "token": token}) + "\n"
        done = sandbox.run(program, line.encode(), statements=True)
        passed += len(set(done.output.split(b"\n")) & {f"{token} {i}".encode() for i in range(len(statements))})
        limited = done.is_limited()
    for case in cases:
        if limited:  # the next one would take as long
            break
        done = sandbox.run(program, str(case["input"]).encode(errors="replace"))
        passed += done.status == 0 and not done.is_over and \
            done.output.decode(errors="replace").split() == str(case["output"]).split()
        limited = done.is_limited()
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
