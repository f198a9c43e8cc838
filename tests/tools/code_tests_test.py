"""tools/rewards/code_tests.py: what a program may do in its sandbox, and what it may not.

Each sandbox that does not work on this machine is skipped by name; the exit status is 77 then.
    code_tests_test.py [CLASS...]
"""
import contextlib
import ctypes
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("ORRERY_CODE_SECONDS", "4")
os.environ["ORRERY_CODE_SANDBOX"] = "none"  # of the import alone: every test names its own
sys.path.insert(0, str(ROOT / "tools/rewards"))
import code_tests  # noqa: E402


def sandbox(kind):
    try:
        return code_tests.Sandbox(kind), None
    except RuntimeError as error:
        return None, str(error)


def record(program, tests=None, cases=None):
    return {"response": f"Here it is:\n```python\n{program}\n```\n", "answer": "",
            "fields": {"tests": tests or [], "cases": cases or []}}


class InASandbox:
    """What holds in each kind of sandbox."""

    def judge(self, program, tests=("assert done",), cases=None):
        return code_tests.judge(record(program, list(tests), cases), self.sandbox)

    def passes(self, program, *tests):
        return self.judge(program, tests or ("assert done",))[0]

    def test_a_right_program_passes_and_a_wrong_one_does_not(self):
        tests = ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]
        self.assertEqual(self.judge("def add(a, b): return a + b", tests), (1, False))
        self.assertEqual(self.judge("def add(a, b): return abs(a) + b", tests), (0.5, False))
        self.assertEqual(self.judge("def add(a, b): return", tests), (0, False))
        self.assertEqual(self.judge("def add(a, b) return a + b", tests), (0, False))
        self.assertEqual(self.judge("import os; os._exit(0)", tests), (0, False))

    def test_a_program_is_compared_by_what_it_writes(self):
        cases = [{"input": "2 3\n", "output": "5\n"}, {"input": "1 1\n", "output": "2\n"}]
        self.assertEqual(self.judge("print(sum(map(int, input().split())))", (), cases), (1, False))
        self.assertEqual(self.judge("print(5)", (), cases), (0.5, False))
        self.assertEqual(self.judge("print(5); raise SystemExit(1)", (), cases), (0, False))

    def test_there_is_no_network(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            connected = []
            threading.Thread(target=lambda: connected.append(server.accept()), daemon=True).start()
            port = server.getsockname()[1]
            self.assertEqual(self.passes(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\ndone = 1"), 0)
            self.assertEqual(self.passes("import socket\nsocket.getaddrinfo('example.org', 80)\ndone = 1"), 0)
            self.assertEqual(connected, [])

    def test_files_outside_are_neither_seen_nor_changed(self):
        outside = pathlib.Path("/var/tmp/orrery-code-tests")
        outside.write_text("secret")
        outside.chmod(0o666)
        try:
            self.assertEqual(self.passes(f"done = open({str(outside)!r}).read() == 'secret'"), 0)
            self.passes(f"open({str(outside)!r}, 'w').write('changed')\ndone = 1")
            self.assertEqual(outside.read_text(), "secret")
        finally:
            outside.unlink()
        self.assertEqual(self.passes(f"import os\ndone = os.path.exists({str(ROOT)!r})"), 0)
        self.assertEqual(self.passes("open('/usr/orrery', 'w')\ndone = 1"), 0)
        self.assertEqual(self.passes("import os\nos.kill(1, 9)\nos.kill(os.getppid(), 9)\ndone = 0"), 0)
        self.assertEqual(self.passes("import os\ndone = not any(k.startswith('ORRERY') for k in os.environ)"), 1)

    def test_a_fork_bomb_ends_with_its_sandbox(self):
        before = set(os.listdir("/proc"))
        begin = time.monotonic()
        passed, _ = self.judge("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")
        self.assertEqual(passed, 0)
        self.assertLess(time.monotonic() - begin, 30)
        time.sleep(1)
        left = [p for p in set(os.listdir("/proc")) - before if p.isdigit() and self.is_program(p)]
        self.assertEqual(left, [])

    @staticmethod
    def is_program(pid):
        try:
            return b"questions = os.fdopen" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def test_memory_is_limited(self):
        self.assertEqual(self.judge("x = bytearray(8 << 30)\ndone = 1"), (0, True))

    def test_time_is_limited_and_the_next_program_runs(self):
        begin = time.monotonic()
        self.assertEqual(self.judge("while True: pass"), (0, True))
        self.assertEqual(self.judge("import time, signal\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(1000)"), (0, True))
        self.assertLess(time.monotonic() - begin, 40)
        self.assertEqual(self.passes("done = 1"), 1)

    def test_what_it_writes_is_limited(self):
        self.assertEqual(self.judge("while True: print('x' * 10000)", (), [{"input": "", "output": "5"}]), (0, True))
        self.assertEqual(self.passes("open('/tmp/big', 'wb').write(bytes(1 << 30))\ndone = 1"), 0)

    def test_a_program_that_python_cannot_read_is_wrong(self):
        cases = [{"input": "2 3\n", "output": "5\n"}]
        self.assertEqual(self.judge("print(5) # \0", (), cases), (0, False))
        self.assertEqual(self.judge("print(5) # \ud800", (), cases), (0, False))
        self.assertEqual(self.judge("done = 1 # \ud800"), (0, False))

    def test_a_program_may_be_longer_than_a_command_line(self):
        long = "# " + "x" * 300_000 + "\n"
        cases = [{"input": "2 3\n", "output": "5\n"}]
        self.assertEqual(self.judge(long + "print(sum(map(int, input().split())))", (), cases), (1, False))

    def test_a_program_is_main_and_has_its_input_alone_on_stdin(self):
        cases = [{"input": "2 3\n", "output": "4 ['2 3'] 1"}]
        self.assertEqual(self.judge("import os, sys\nsize = os.fstat(0).st_size\nif __name__ == '__main__':\n"
                                    "    print(size, open('/proc/self/fd/0').read().split('\\n')[:-1], len(sys.argv))",
                                    (), cases), (1, False))

    def test_the_first_case_that_runs_into_a_limit_is_the_last(self):
        begin = time.monotonic()
        cases = [{"input": "", "output": "5"}] * 8
        self.assertEqual(self.judge("while True: pass", (), cases), (0, True))
        self.assertLess(time.monotonic() - begin, 5 * self.sandbox.seconds)


@contextlib.contextmanager
def programs(**scripts):
    """PATH is a folder with these programs and those of the system's that a script needs."""
    before = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name, script in scripts.items():
            path = pathlib.Path(folder, name)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        os.symlink(shutil.which("python3"), pathlib.Path(folder, "python3"))
        os.environ["PATH"] = folder
        try:
            yield folder
        finally:
            os.environ["PATH"] = before


def become_reaper(on):
    """What a child of this process leaves behind becomes its child, as the children of a job's spawner do."""
    ctypes.CDLL(None).prctl(36, int(on), 0, 0, 0)


def children():
    return set(code_tests.children_of(os.getpid()))


BUBBLEWRAP, NO_BUBBLEWRAP = sandbox("bubblewrap")
CONTAINER, NO_CONTAINER = sandbox("container")


@unittest.skipIf(BUBBLEWRAP is None, NO_BUBBLEWRAP)
class Bubblewrap(InASandbox, unittest.TestCase):
    sandbox = BUBBLEWRAP

    def test_nobody_has_to_reap_what_a_sandbox_leaves(self):
        cases = [{"input": "5", "output": "5"}]
        before = children()
        become_reaper(True)
        try:
            for program in ("print(input())", "import time; time.sleep(1000)", "while True: print('x' * 10000)"):
                self.judge(program, (), cases)
                self.assertEqual(children() - before, set(), program)
        finally:
            become_reaper(False)

    def test_other_processes_of_the_user_do_not_count(self):
        user = {"user": code_tests.NOBODY, "group": code_tests.NOBODY} if os.getuid() == 0 else {}
        sleepers = [subprocess.Popen(["sleep", "100"], **user) for _ in range(2 * code_tests.MOST_PROCESSES)]
        try:
            self.assertIsNone(sandbox("bubblewrap")[1])
            self.assertEqual(self.passes("import threading\nthread = threading.Thread(target=print)\nthread.start()\n"
                                         "thread.join()\ndone = 1"), 1)
            self.assertGreaterEqual(code_tests.threads_of(code_tests.NOBODY if user else os.getuid()), len(sleepers))
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()

    def test_a_right_program_passes_beside_a_fork_bomb_in_another_sandbox(self):
        bomb = threading.Thread(target=self.judge, args=(
            "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",))
        bomb.start()
        try:
            time.sleep(1)
            for _ in range(3):
                self.assertEqual(self.passes("import os\nif os.fork() == 0: os._exit(0)\nos.wait()\ndone = 1"), 1)
        finally:
            bomb.join()

    def test_processes_are_limited(self):
        forks = "import os, time\nfor i in range(%d):\n    if os.fork() == 0: time.sleep(100)\ndone = 1"
        self.assertEqual(self.judge(forks % (code_tests.MOST_PROCESSES + 1)), (0, True))
        self.assertEqual(self.passes(forks % (code_tests.MOST_PROCESSES // 2)), 1)

    def test_files_in_memory_are_limited(self):
        fill = ("import os\nfor i in range(12): open('%s/file%%d' %% i, 'wb').write(bytes(15 << 20))\ndone = 1")
        for folder in ("/", "/dev", "/dev/shm", "/tmp"):
            self.assertEqual(self.passes(fill % folder), 0, folder)
        for folder in ("/", "/dev"):
            self.assertEqual(self.passes(f"open('{folder}/file', 'w').write('x')\ndone = 1"), 0, folder)
        self.assertEqual(self.passes("import multiprocessing\nmultiprocessing.Lock()\ndone = 1"), 1)

    def test_a_sandbox_that_does_not_start_is_no_wrong_program(self):
        with programs(bwrap="echo broken >&2; exit 1") as folder:
            broken = code_tests.Sandbox("none")
            broken.kind, broken.engine = "bubblewrap", os.path.join(folder, "bwrap")
            for tests, cases in ((["assert True"], []), ([], [{"input": "", "output": ""}])):
                with self.assertRaisesRegex(RuntimeError, "did not begin in the sandbox.*broken"):
                    code_tests.judge(record("done = 1", tests, cases), broken)

    def test_a_program_cannot_look_like_a_sandbox_that_did_not_start(self):
        hides = "import os, sys\ntry:\n    os.lseek(1, 0, 0); os.ftruncate(1, 0)\nexcept OSError: pass\nos._exit(1)"
        self.assertEqual(self.judge(hides, (), [{"input": "", "output": "5"}]), (0, False))
        self.assertEqual(self.judge(hides), (0, False))


@unittest.skipIf(CONTAINER is None, NO_CONTAINER)
class Container(InASandbox, unittest.TestCase):
    sandbox = CONTAINER


class Programs(unittest.TestCase):
    """Which part of a response is the program."""
    ADD = "def add(a, b):\n    return a + b\n"

    def test_it_is_the_last_block_of_python(self):
        block = f"```python\n{self.ADD}```\n"
        for response in (block, "```python\nwrong\n```\n" + block, "```json\n{}\n```\n" + block,
                         "Input:\n```text\n2 3\n```\n\n" + block, "```bash\nls\n```\n" + block,
                         block + "```bash\npython x.py\n```", block + "Output:\n```\n5\n```",
                         "```\n2 3\n```\n" + block, "Use ```x``` then\n" + block, "So: " + block,
                         f"```python3 title=x\n{self.ADD}```", f"```Py\n{self.ADD}```", f"```{{.python}}\n{self.ADD}```",
                         f"~~~python\n{self.ADD}~~~", f"````python\n{self.ADD}````", block[:-4],
                         block.replace("\n", "\r\n"), f"```python\n{self.ADD.rstrip()}```\nOutput:\n```\n5\n```"):
            self.assertEqual(code_tests.program_in(response).strip(), self.ADD.strip(), response)

    def test_it_is_the_last_block_without_a_language_where_none_is_python(self):
        self.assertEqual(code_tests.program_in(f"```\nwrong\n```\n```\n{self.ADD}```"), self.ADD)
        self.assertEqual(code_tests.program_in(f"```\n{self.ADD}```\n```json\n{{}}\n```"), self.ADD)
        self.assertEqual(code_tests.program_in(self.ADD), self.ADD)
        self.assertEqual(code_tests.program_in(f"Use `sum`: ```python\n{self.ADD}```"), self.ADD)
        self.assertEqual(code_tests.program_in(f"```python\n{self.ADD}``` This prints the sum."), self.ADD)

    def test_a_block_may_be_indented(self):
        indented = "1. So:\n" + "".join(f"   {line}\n" for line in ("```python", *self.ADD.splitlines(), "```")) + "2. Done"
        self.assertEqual(code_tests.program_in(indented), self.ADD)

    def test_fences_in_a_docstring_end_nothing(self):
        for docstring in ('"""as ``` x"""', '"""\n    ```\n    >>> add(1, 2)\n    ```\n    """',
                          '"""```x```"""', '"""\n    ```python\n    add(1, 2)\n    ```\n    """'):
            program = f"def add(a, b):\n    {docstring}\n    return a + b\n"
            self.assertEqual(code_tests.program_in(f"```python\n{program}```\nOutput:\n```\n5\n```"), program)

    def test_what_was_thought_counts_only_where_no_block_follows(self):
        thought = f"<think>\n```python\n{self.ADD}```\n</think>\n"
        self.assertEqual(code_tests.program_in(thought + "```\nprint(5)\n```"), "print(5)\n")
        self.assertEqual(code_tests.program_in(thought + "As above."), self.ADD)

    def test_long_responses_take_little_time(self):
        begin = time.monotonic()
        for text in ("```python\n" * 20_000, "`" * 200_000, "```" + " " * 200_000 + "x`", "x " * 100_000 + "```py",
                     " " * 200_000, "a```" * 50_000):
            code_tests.program_in(text)
        self.assertLess(time.monotonic() - begin, 5)


class ContainerEngines(unittest.TestCase):
    """With programs in place of the engines: this one runs Python without any sandbox."""
    APPTAINER = 'while [ "$1" != python3 ]; do shift; done; exec "$@"'

    def test_the_first_engine_that_works_is_taken(self):
        with programs(docker="echo no daemon >&2; exit 1", apptainer=self.APPTAINER):
            self.assertEqual(os.path.basename(code_tests.Sandbox("container").engine), "apptainer")

    def test_each_engine_says_why_it_does_not_work(self):
        with programs(docker="echo no daemon >&2; exit 1", apptainer="echo no image >&2; exit 255"):
            with self.assertRaisesRegex(RuntimeError, "docker: .*no daemon.*apptainer: .*no image"):
                code_tests.Sandbox("container")

    def test_apptainer_has_limits_on_memory_computing_and_files(self):
        with programs(apptainer=self.APPTAINER):
            container = code_tests.Sandbox("container")
            cases = [{"input": "", "output": "5"}]
            self.assertEqual(code_tests.judge(record("x = bytearray(8 << 30)\nprint(5)", cases=cases), container), (0, True))
            self.assertEqual(code_tests.judge(record(
                "import tempfile\ntempfile.TemporaryFile().write(bytes(64 << 20))\nprint(5)", cases=cases), container)[0], 0)
            begin = time.monotonic()
            used = sum(os.times()[2:4])
            self.assertEqual(code_tests.judge(record("while True: pass", cases=cases), container), (0, True))
            self.assertLess(sum(os.times()[2:4]) - used, container.seconds + 2)
            self.assertLess(time.monotonic() - begin, 4 * container.seconds)
            self.assertEqual(code_tests.judge(record("print(5)", cases=cases), container), (1, False))

    def test_a_container_that_does_not_start_is_no_wrong_program(self):
        with programs(apptainer=self.APPTAINER):
            container = code_tests.Sandbox("container")
        with programs(apptainer="echo disk full >&2; exit 255") as folder:
            container.engine = os.path.join(folder, "apptainer")
            with self.assertRaisesRegex(RuntimeError, "did not begin.*disk full"):
                code_tests.judge(record("print(5)", cases=[{"input": "", "output": "5"}]), container)


class WithoutASandbox(unittest.TestCase):
    def test_nothing_runs_unless_told(self):
        environment = {"PATH": "/nowhere"}
        done = subprocess.run([sys.executable, "-c", "import code_tests"], cwd=ROOT / "tools/rewards",
                              env=environment, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("there is no sandbox for the programs of a model", done.stderr)
        self.assertIn("apt-get install bubblewrap", done.stderr)
        told = subprocess.run([sys.executable, "-B", "-c", "import code_tests; print(code_tests.SANDBOX.kind)"],
                              cwd=ROOT / "tools/rewards", env={**environment, "ORRERY_CODE_SANDBOX": "none"},
                              capture_output=True, text=True)
        self.assertEqual(told.stdout, "none\n")

    def test_a_record_without_tests_is_named(self):
        with self.assertRaisesRegex(ValueError, "has no tests"):
            code_tests.reward([{"response": "x", "answer": "", "fields": {}}])

    def test_rewards_have_parts(self):
        sure = {"response": "x = 1", "answer": '["assert x == 1", "assert x == 2"]', "fields": {}}
        self.assertEqual(code_tests.reward([sure]), [{"reward": 0.0, "passed": 0.5, "limited": 0.0}])


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    for test, why in result.skipped:
        print(f"skipped: {test.id()}: {why.splitlines()[0]}")
    print(f"{len(result.skipped)} of {result.testsRun} tests skipped")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
