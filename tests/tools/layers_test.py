"""Folders see the headers of those before them that they link, and no others: a wrong #include does
not compile. The preprocessor says what it finds with the flags of each folder's sources.

    layers_test.py BUILD FOLDER...     BUILD with compile_commands.json, the folders in their order
"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD, FOLDERS = pathlib.Path(sys.argv[1]), sys.argv[2:]
# What a folder may not use although it stands before it.
APART = {"master": {"kernels", "model", "parallel", "algorithm", "worker"}, "report": {"master", "worker"}}
PLAIN = {"base", "config", "graph", "metrics", "master", "report"}  # no MPI, and no tensors
WITH_TENSORS = {"data", "comm", "model", "parallel", "algorithm", "worker", "cli"}


def folder_of(path):
    below = pathlib.Path(path).parts[len((ROOT / "src").parts):]
    return below[0] if path.startswith(f"{ROOT}/src/") and len(below) > 1 else None


def preprocessors():
    """Folder -> a command for each set of flags among its sources."""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        folder = folder_of(entry["file"])
        if not folder or not entry["file"].endswith(".cpp"):
            continue
        words = shlex.split(entry["command"])
        words = words[next(i for i, word in enumerate(words) if re.search(r"(\+\+|clang)[^/]*$", word)):]
        flags = [f"{a}{b}" if a in ("-I", "-isystem") else a for a, b in zip(words, words[1:] + [""])
                 if a.startswith(("-I", "-D", "-std", "-isystem"))]
        found.setdefault(folder, set()).add((words[0], *flags))
    return found


# Folders that the environment adds are no business of the build's.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")}


def below(top):
    """Headers below a folder, each as one may try to include it."""
    return [f'"{path.relative_to(top)}"' for path in sorted(top.rglob("*.h"))]


PUBLIC, PRIVATE = below(ROOT / "include"), below(ROOT / "src")
NAMED_SHORTLY = [f'"{header.split("/", 1)[1]}' for header in PRIVATE]
TENSORS, MPI = "<ATen/core/Tensor.h>", "<mpi.h>"
TRIED = [*PUBLIC, *PRIVATE, *NAMED_SHORTLY, TENSORS, MPI]


def found_with(command):
    """Which of the tried headers the preprocessor finds with these flags."""
    probe = "".join(f"#if __has_include({header})\nfound {header}\n#endif\n" for header in TRIED)
    done = subprocess.run([*command, "-E", "-P", "-x", "c++", "-"], env=ENVIRONMENT, input=probe, text=True,
                          capture_output=True, check=True)
    return {line.removeprefix("found ") for line in done.stdout.splitlines() if line.startswith("found ")}


# What any source of a folder may include.
FOUND = {folder: set().union(*map(found_with, commands)) for folder, commands in preprocessors().items()}


def public(folder):
    return {header for header in PUBLIC if header.startswith(f'"orrery/{folder}/')}


class Layers(unittest.TestCase):
    def test_every_folder_of_sources_is_in_the_order(self):
        self.assertEqual(set(FOLDERS), set(FOUND))

    def test_every_folder_sees_its_own_headers(self):
        for folder in FOLDERS:
            with self.subTest(folder=folder):
                self.assertTrue(public(folder))
                self.assertLessEqual(public(folder), FOUND[folder])

    def test_no_folder_sees_those_after_it_or_apart_from_it(self):
        for place, folder in enumerate(FOLDERS):
            for other in {*FOLDERS[place + 1:], *APART.get(folder, ())}:
                with self.subTest(folder=folder, other=other):
                    self.assertEqual(public(other) & FOUND[folder], set())

    def test_no_folder_sees_private_headers_of_another(self):
        for folder in FOLDERS:
            own = below(ROOT / "src" / folder)
            with self.subTest(folder=folder):
                self.assertLessEqual(set(own), FOUND[folder])
                others = {*PRIVATE, *NAMED_SHORTLY} - set(own)
                self.assertEqual(others & FOUND[folder], set())

    def test_only_folders_with_tensors_see_them(self):
        self.assertEqual({folder for folder in FOLDERS if TENSORS in FOUND[folder]}, WITH_TENSORS)

    def test_plain_folders_do_not_see_mpi(self):
        for folder in sorted(PLAIN):
            with self.subTest(folder=folder):
                self.assertNotIn(MPI, FOUND[folder])
        self.assertIn(MPI, FOUND["comm"])

    def test_no_source_goes_through_the_parent_folder(self):
        """The one way that no include root closes: a path from where the file itself stands."""
        wrong = [f"{path.relative_to(ROOT)}:{number}: {line}"
                 for top in ("include", "src") for path in sorted((ROOT / top).rglob("*.*"))
                 if path.suffix in (".h", ".cpp", ".cu")
                 for number, line in enumerate(path.read_text().splitlines(), 1)
                 if re.match(r'\s*#\s*include\s*"[^"]*\.\./', line)]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
