#!/usr/bin/env python3
"""Counts what a ctest log says: `N passed, N failed, N skipped`.

    tools/count_tests.py LOG        LOG: the output of `ctest --verbose`

A GoogleTest executable counts by its cases, any other test (a script, a program under mpirun) as
one. A test that crashed, timed out or could not start counts as a failure of its own; one that
exits with failure though none of its cases failed does too. A test that the log has twice counts by
its second try; `passed only at the second try: NAME` names those that failed at the first. Exit
status 1 if anything failed.
"""
import collections
import re
import sys

# "7: [       OK ] Suite.Case (3 ms)", perhaps after output without a line end. Lines of ranks
# ("7: [1,0]<stdout>:...") are left out: every rank reports the same cases.
CASE = re.compile(r"^(\d+): (?!\[\d+,\d+\]<std).*?\[ *(OK|FAILED|SKIPPED) *\] \S.* \(\d+ ms\)$")
# "3/6 Test #7: base.file ......   Passed    0.01 sec", "...***Exception: SegFault  0.1 sec"
TEST = re.compile(r"^ *\d+/\d+ Test +#(\d+): (\S+).*?(?:\*\*\*([A-Z][A-Za-z ]+?)|  (Passed))[: ] ?.* sec *$")


def count_test(of_test, outcome):
    """What one test adds: its cases, or itself."""
    total = collections.Counter(of_test)
    if outcome == "Passed":
        total["OK"] += not of_test
    elif outcome == "Skipped":
        total["SKIPPED"] += not of_test
    elif outcome != "Failed" or not of_test["FAILED"]:
        total["FAILED"] += 1
    return total


def count(lines):
    """(passed, failed, skipped) of the log, and the names of tests that passed at their second try."""
    cases = collections.defaultdict(collections.Counter)
    tests, second = {}, []
    for line in lines:
        line = line.rstrip("\n")
        if case := CASE.match(line):
            cases[case.group(1)][case.group(2)] += 1
        elif test := TEST.match(line):
            number, name, failed, passed = test.groups()
            of_test = count_test(cases.pop(number, collections.Counter()), (failed or passed).strip())
            if number in tests and tests[number]["FAILED"] and not of_test["FAILED"]:
                second.append(name)
            tests[number] = of_test
    # Those that are left had no report: ctest itself was ended before it.
    total = sum([*tests.values(), *cases.values()], collections.Counter())
    return (total["OK"], total["FAILED"], total["SKIPPED"]), second


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], errors="replace") as log:
        (passed, failed, skipped), second = count(log)
    for name in second:
        print(f"passed only at the second try: {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
