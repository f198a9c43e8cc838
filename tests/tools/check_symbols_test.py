"""Tests of tools/check_symbols.py on a program of two files."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_symbols  # noqa: E402

LIBRARY = """
namespace orrery::x {
struct Shape { virtual ~Shape() = default; virtual int area() const; };
namespace { int inner() { return 2; } int from_table() { return 3; } }
int called() { return inner(); }
int through_table();
int (*const table[])() = {from_table, through_table};
int through_table() { return 4; }
int only_tests() { return 5; }
int only_by_a_dead_one() { return 6; }
int Shape::area() const { return 1; }
int dead_with_callee() { return only_by_a_dead_one(); }
int looked_up(int i) { return table[i](); }
Shape* make() { return new Shape; }
}
"""
MAIN = """
namespace orrery::x { int called(); int looked_up(int); struct Shape; Shape* make(); }
int main(int n, char**) { return orrery::x::called() + orrery::x::looked_up(n) + (orrery::x::make() != nullptr); }
"""


class CheckSymbols(unittest.TestCase):
    def test_finds_what_main_does_not_reach(self):
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder)
            self.compile(LIBRARY, build / "src/x/CMakeFiles/orrery_x.dir/a.cpp.o")
            self.compile(MAIN, build / "CMakeFiles/orrery.dir/src/main.cpp.o")

            dead, n_alive = check_symbols.unreached(build)

        self.assertEqual(
            sorted(dead),
            ["orrery::x::dead_with_callee()", "orrery::x::only_by_a_dead_one()", "orrery::x::only_tests()"],
        )
        self.assertGreaterEqual(n_alive, 5)

    def test_says_so_where_nothing_was_built(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(SystemExit) as stopped:
            check_symbols.unreached(pathlib.Path(folder))
        self.assertEqual(stopped.exception.code, 2)

    @staticmethod
    def compile(text, to):
        to.parent.mkdir(parents=True)
        subprocess.run(["c++", "-std=c++20", "-O1", "-fPIC", "-x", "c++", "-", "-c", "-o", str(to)],
                       input=text, text=True, check=True)


if __name__ == "__main__":
    unittest.main()
