"""tools/rewards/math_answer.py: which final answers are equal, and that each pair is decided in time.

Needs math-verify (tools/setup.sh --tests installs it into build/rewards): without it everything is
skipped by name and the exit status is 77.
    math_answer_test.py [CLASS...]
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/rewards"), str(ROOT / "build/rewards")]
PAIRS = [pathlib.Path(__file__).parent / "rewards" / name for name in ("math_pairs.tsv", "math_pairs_by_form.tsv")]

try:
    import math_answer
except ImportError as error:
    math_answer, WHY = None, str(error)


if math_answer:
    math_answer.LIMIT_SECONDS = 4  # of computing; the pairs that can be decided need far less


def pairs():
    for line in (line for path in PAIRS for line in path.read_text().splitlines()):
        if not line.startswith("#"):
            kind, equal, response, answer = line.split("\t")
            yield kind, equal == "1", response.replace("\\n", "\n") if "####" in response else response, answer


def rewards(*given):
    return math_answer.reward([{"response": response, "answer": answer} for response, answer in given])


@unittest.skipIf(math_answer is None, "math-verify is not installed: tools/setup.sh --tests")
class Pairs(unittest.TestCase):
    def test_each_pair_of_the_table_is_decided_rightly(self):
        table = list(pairs())
        wrong = [f"{kind}: {response!r} and {answer!r} are {'equal' if equal else 'not equal'}"
                 for kind, equal, response, answer in table
                 if rewards((response, answer)) != [float(equal)]]
        self.assertGreaterEqual(len(table), 150)
        self.assertEqual(wrong, [])

    def test_a_reward_does_not_depend_on_the_other_records(self):
        table = [(response, answer) for kind, _, response, answer in pairs() if kind != "cost"]
        alone = [rewards(pair)[0] for pair in table]
        self.assertEqual(rewards(*table), alone)
        self.assertEqual(rewards(*reversed(table)), alone[::-1])

    def test_a_pair_that_takes_too_long_ends_and_the_next_one_is_decided(self):
        begin = time.monotonic()
        got = rewards((r"\boxed{(x+y+z+w)^{3000}}", "x^{3000}+1"), (r"\sqrt{8}", r"2\sqrt{2}"))
        self.assertEqual(got, [0, 1])
        self.assertLess(time.monotonic() - begin, 60)


@unittest.skipIf(math_answer is None, "math-verify is not installed: tools/setup.sh --tests")
class FinalAnswers(unittest.TestCase):
    def test_many_boxes_take_little_time(self):
        begin = time.monotonic()
        for box in ("\\boxed{", "\\boxed ", "\\boxed{5}", "{"):
            math_answer.final_answer(box * (200_000 // len(box)))
        self.assertLess(time.monotonic() - begin, 5)

    def test_a_record_without_an_answer_is_named(self):
        for record in ({"response": "5", "answer": " "}, {"response": "5"}):
            with self.assertRaisesRegex(ValueError, "the inputs of the call must have answers"):
                math_answer.reward([record])


class Runner(unittest.TestCase):
    def test_what_a_function_raises_may_be_no_text(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "judge.py")
            path.write_text("def reward(records):\n    raise ValueError('bad \\ud800 text')\n")
            done = subprocess.run([sys.executable, "-B", ROOT / "tools/rewards/runner.py", f"{path}:reward"], text=True,
                                  input='{"id": "a"}\n{"id": "b", "records": [{"response": "5"}]}\n', capture_output=True)
        self.assertIn("ValueError: bad ? text", json.loads(done.stdout.split("\n")[1])["rewards"][0]["what"])


class WithoutThePackage(unittest.TestCase):
    def test_the_error_says_what_to_install(self):
        done = subprocess.run([sys.executable, "-I", "-S", ROOT / "tools/rewards/math_answer.py"],
                              capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("pip install math-verify", done.stderr)


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    for test, why in result.skipped:
        print(f"skipped: {test.id()}: {why.splitlines()[0]}")
    print(f"{len(result.skipped)} of {result.testsRun} tests skipped")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
