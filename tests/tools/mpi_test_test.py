"""tools/mpi_test.sh says how a program under mpirun ended and leaves no rank behind.

    mpi_test_test.py PROGRAM        PROGRAM: the executable rank_that
"""
import pathlib
import subprocess
import sys
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/mpi_test.sh"
PROGRAM = sys.argv.pop() if len(sys.argv) > 1 else "rank_that"


def run(seconds, behaviour):
    result = subprocess.run([SCRIPT, "2", str(seconds), PROGRAM, behaviour], timeout=60, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def is_running(behaviour):
    return subprocess.run(["pgrep", "-f", f"^{PROGRAM} {behaviour}"],
                          stdout=subprocess.DEVNULL).returncode == 0


class MpiTest(unittest.TestCase):
    def test_success_shows_every_rank(self):
        status, output = run(30, "succeeds")
        self.assertEqual(status, 0, output)
        self.assertIn("[1,0]<stdout>:rank 0 came through", output)
        self.assertIn("[1,1]<stdout>:rank 1 came through", output)

    def test_a_failing_rank_is_named_and_its_status_kept(self):
        status, output = run(30, "fails")
        self.assertEqual(status, 3, output)
        self.assertRegex(output, r"Process name: \[\[\d+,1\],1\]")
        self.assertFalse(is_running("fails"))

    def test_a_hang_ends_at_the_time_limit_and_leaves_no_rank(self):
        status, output = run(3, "hangs")
        self.assertEqual(status, 124, output)
        self.assertIn("not done after 3 s", output)
        self.assertFalse(is_running("hangs"))


if __name__ == "__main__":
    unittest.main()
