#!/usr/bin/env python3
"""Runs clang-tidy with the checks of .clang-tidy on the program's sources.

    tools/check_tidy.py BUILD [FILE...]     exit status 1 where a check found something

BUILD: a configured build folder. Without FILE: every fifth source, or all with ORRERY_FULL=1.

cost: two minutes on 2 cores, a quarter of an hour with ORRERY_FULL=1; needs clang-tidy
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tools/tidy_sample.txt"  # every fifth, by name: a new source changes nobody else's turn
UNREADABLE = re.compile(r"\[clang-diagnostic-error\]")  # what this Clang lacks of C++20
FINDING = re.compile(r"\[[a-z]+-(?!diagnostic)[a-z-]+.*\]$", re.MULTILINE)
# What GCC knows and Clang does not. The precompiled header is GCC's too: in its place stands what it
# was made of (OrreryTargets.cmake).
GCC_ONLY = re.compile(r"-W.*|-fpch-preprocess|-fsanitize=.*|-fno-sanitize-recover=.*")


def for_clang(command):
    """The arguments of a compile command, without the compiler's launcher and what is GCC's alone."""
    words = shlex.split(command)
    words = words[next(i for i, word in enumerate(words) if re.search(r"(^|/)(c\+\+|g\+\+)[-0-9]*$", word)):]
    return [re.sub(r".*/cmake_pch\.hxx$", "ATen/ATen.h", word) for word in words if not GCC_ONLY.fullmatch(word)]


def sources(entries):
    """The program's own entries, each file once."""
    found = {}
    for entry in entries:
        path = pathlib.Path(entry["file"]).resolve()
        if path.suffix == ".cpp" and path.is_relative_to(ROOT / "src"):
            found[path] = entry
    return dict(sorted(found.items()))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    database = pathlib.Path(sys.argv[1]) / "compile_commands.json"
    if not database.exists():
        sys.exit(f"check_tidy.py: {database} is missing: configure a build first (cmake --preset dev)")
    found = sources(json.loads(database.read_text()))
    wanted = [pathlib.Path(name).resolve() for name in sys.argv[2:]]
    if not wanted:
        every = list(found)
        sample = [ROOT / name for name in SAMPLE.read_text().split()]
        wanted = every if os.environ.get("ORRERY_FULL") == "1" else [path for path in sample if path in found]
    unknown = [str(path) for path in wanted if path not in found]
    if unknown or not wanted:
        sys.exit(f"check_tidy.py: not compiled by {database}: {', '.join(unknown) or 'any source'}")

    with tempfile.TemporaryDirectory() as folder:
        entries = [{"directory": found[path]["directory"], "file": str(path),
                    "arguments": for_clang(found[path]["command"])} for path in wanted]
        (pathlib.Path(folder) / "compile_commands.json").write_text(json.dumps(entries))

        def check(path):
            return subprocess.run(["clang-tidy", "-p", folder, "--quiet", str(path)], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        failed = left_out = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, result in zip(wanted, pool.map(check, wanted)):
                if UNREADABLE.search(result.stdout) and not FINDING.search(result.stdout):
                    left_out += 1
                elif result.returncode != 0:
                    failed += 1
                    print(f"== {path.relative_to(ROOT)}\n{result.stdout}", flush=True)
    print(f"check_tidy.py: {len(wanted)} of {len(found)} sources, {failed} with findings, {left_out} left out: "
          "this clang-tidy does not read all of their C++20")
    if left_out > len(wanted) / 2:
        sys.exit("check_tidy.py: more than half was left out: something else is wrong")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
