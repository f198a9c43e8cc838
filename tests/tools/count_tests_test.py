"""tools/count_tests.py counts what a ctest log says."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from count_tests import count  # noqa: E402  (the path comes first)


class CountTests(unittest.TestCase):
    def test_a_googletest_executable_counts_by_its_cases(self):
        log = ["1: [ RUN      ] A.Passes", "1: [       OK ] A.Passes (0 ms)",
               "1: [  FAILED  ] A.Fails (2 ms)", "1: [  SKIPPED ] A.Skips (0 ms)",
               "1: [  FAILED  ] A.Fails",  # the summary repeats it
               "1/1 Test #1: a.one ............................***Failed    0.01 sec"]
        self.assertEqual(count(log)[0], (1, 1, 1))

    def test_scripts_count_once(self):
        log = ["1/3 Test #1: script.ok ........................   Passed    0.01 sec",
               "2/3 Test  #2: script.bad .......................***Failed    0.00 sec",
               "3/3 Test #3: script.skip ......................***Skipped   0.00 sec"]
        self.assertEqual(count(log)[0], (1, 1, 1))

    def test_a_crash_or_hang_is_a_failure_beside_the_cases_before_it(self):
        log = ["1: [       OK ] A.Passes (0 ms)",
               "1/3 Test #1: a.one .......***Exception: SegFault  0.41 sec",
               "2/3 Test #2: a.two .......***Timeout  60.01 sec",
               "3/3 Test #3: a.three .....***Not Run   0.00 sec"]
        self.assertEqual(count(log)[0], (1, 3, 0))

    def test_a_program_that_ends_badly_after_good_cases_has_failed(self):
        log = ["4: [       OK ] A.Passes (0 ms)",
               "1/1 Test #4: a.one ............................***Failed    0.01 sec"]
        self.assertEqual(count(log)[0], (1, 1, 0))

    def test_ranks_do_not_count_one_by_one(self):
        log = ["1: [1,0]<stdout>:[       OK ] A.Passes (0 ms)",
               "1: [1,1]<stdout>:[       OK ] A.Passes (0 ms)",
               "1/1 Test #1: comm.a@2 .........................   Passed    0.31 sec"]
        self.assertEqual(count(log)[0], (1, 0, 0))

    def test_a_case_after_output_without_line_end_counts(self):
        log = ["1: half a line[       OK ] A.Passes (0 ms)",
               "1/1 Test #1: a.one .........   Passed    0.31 sec"]
        self.assertEqual(count(log)[0], (1, 0, 0))

    def test_what_an_ended_ctest_had_seen_counts(self):
        self.assertEqual(count(["1: [  FAILED  ] A.Fails (2 ms)"])[0], (0, 1, 0))

    def test_a_second_try_counts_instead_of_the_first_and_is_named(self):
        log = ["1/2 Test #1: fault.a ............................***Failed    0.01 sec",
               "2: [  FAILED  ] A.Fails (2 ms)",
               "2: [       OK ] A.Passes (2 ms)",
               "2/2 Test #2: comm.b@2 ..........................***Failed    0.01 sec",
               "1/2 Test #1: fault.a ............................   Passed    0.01 sec",
               "2: [  FAILED  ] A.Fails (2 ms)",
               "2: [       OK ] A.Passes (2 ms)",
               "2/2 Test #2: comm.b@2 ..........................***Failed    0.01 sec"]
        self.assertEqual(count(log), ((2, 1, 0), ["fault.a"]))


if __name__ == "__main__":
    unittest.main()
