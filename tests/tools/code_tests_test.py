"""tools/rewards/code_tests.py: what a program may do in its sandbox, and what it may not.

Each sandbox that does not work on this machine is skipped by name; the exit status is 77 then.
    code_tests_test.py [CLASS...]
"""
import os
import pathlib
import socket
import subprocess
import sys
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
        self.passes("while True: print('x' * 10000)")
        self.assertEqual(self.passes("open('/tmp/big', 'wb').write(bytes(1 << 30))\ndone = 1"), 0)


BUBBLEWRAP, NO_BUBBLEWRAP = sandbox("bubblewrap")
CONTAINER, NO_CONTAINER = sandbox("container")


@unittest.skipIf(BUBBLEWRAP is None, NO_BUBBLEWRAP)
class Bubblewrap(InASandbox, unittest.TestCase):
    sandbox = BUBBLEWRAP


@unittest.skipIf(CONTAINER is None, NO_CONTAINER)
class Container(InASandbox, unittest.TestCase):
    sandbox = CONTAINER


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
