#!/usr/bin/env python3
"""Runs the command blocks of documents as a reader would, and compares what they print with what is shown.

    tools/run_docs.py [--program ORRERY] [--list] PAGE...      example: tools/run_docs.py docs/tutorial.md

Every fenced block names its language. One of `sh` is run, in order, by `bash -euo pipefail` in a scratch copy of the
tree, where `build/release/orrery` is the program. Its first line says what is otherwise:

    ```sh no-run: REASON         left out; REASON is printed
    ```sh needs: a, b            only where Python can import a and b; else it is left out, with all that follows

A block `text` directly behind one of `sh` is what that prints. Compared loosely: each of its lines must be found,
in this order, among the lines that were printed; others between them do not matter, and a line `...` stands for
them. Runs of blanks are one blank. A number is as good as any other number, a time as any other time, but on a line
with the word `accuracy` numbers with a point may differ by 0.2 at most. A block of another language that follows a
line "`NAME`:" is the file NAME, and is written before the next block runs.

The counts come last. Exit status: 0, 1 if a block failed, 77 if a page ran nothing for lack of a package.
cost: that of the commands; needs a built program (default: build/release/orrery)
"""
import argparse
import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEAR = 0.2  # on lines with the word accuracy
SECONDS = 600  # of a block
FENCE = re.compile(r"^```(.*)$")
FILE = re.compile(r"`([\w./-]+)`.*:$")
TIME = re.compile(r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)? ?(?:ms|s|min|h)\b|\b\d\d:\d\d:\d\d\b")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?:[kMG](?![a-zA-Z]))?")
# As root, with fewer cores than ranks: docs/building.md says what these are for.
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PMIX_MCA_psec": "native",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMP_NUM_THREADS": "1"}


class Mistake(Exception):
    """The document is not written as this program reads it."""


@dataclasses.dataclass
class Block:
    line: int
    language: str
    note: str = ""  # what stands behind the language
    text: str = ""
    file: str = ""  # the name that the line before gives it

    @property
    def no_run(self):
        return self.note.removeprefix("no-run:").strip() if self.note.startswith("no-run:") else ""

    @property
    def needs(self):
        return re.findall(r"\w+", self.note.removeprefix("needs:")) if self.note.startswith("needs:") else []


def blocks_of(text, name):
    """The fenced blocks of a page."""
    blocks, inside, before = [], None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if fence and inside is None:
            language, _, note = fence[1].strip().partition(" ")
            if not language:
                raise Mistake(f"{name}:{number}: the block names no language: sh for commands, text for what is printed")
            file = FILE.search(before)
            inside = Block(number, language, note.strip(), file=file[1] if file and language != "sh" else "")
            if language == "sh" and note and not inside.no_run and not inside.needs:
                raise Mistake(f"{name}:{number}: expected `no-run: REASON` or `needs: PACKAGE`, got {note!r}")
        elif fence:
            blocks.append(inside)
            inside = None
        elif inside is not None:
            inside.text += line + "\n"
        if line.strip():
            before = line
    if inside is not None:
        raise Mistake(f"{name}:{inside.line}: the block does not end")
    return blocks


# ------------------------------------------------------------------------------------------- what is printed


def numbers(line):
    return [float(found.replace(",", "").rstrip("kMG")) for found in NUMBER.findall(TIME.sub("<time>", line)) if "." in found]


def shape(line):
    """The line with times and numbers as signs."""
    return " ".join(NUMBER.sub("<number>", TIME.sub("<time>", line)).split())


def is_alike(expected, printed):
    if shape(expected) != shape(printed):
        return False
    if "accuracy" not in expected:
        return True
    return all(abs(a - b) <= NEAR for a, b in zip(numbers(expected), numbers(printed)))


def first_missing(expected, printed):
    """The first line of `expected` that `printed` lacks, None if all are there in order."""
    rest = iter(printed.replace("\r", "\n").splitlines())
    for line in expected.splitlines():
        if line.strip() in ("", "..."):
            continue
        if not any(is_alike(line, candidate) for candidate in rest):
            return line
    return None


# ----------------------------------------------------------------------------------------------------- runs


def scratch_copy(folder, program):
    """The files that are or may be committed, and the program where a release build puts it."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "build/release").mkdir(parents=True)
    (folder / "build/release/orrery").symlink_to(program.resolve())


class Page:
    """One document, run block by block."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.n_run, self.n_failed, self.n_left_out, self.lacks = 0, 0, 0, False

    def say(self, block, text):
        print(f"{self.name}:{block.line}: {text}", flush=True)

    def run(self, blocks):
        for block, follower in zip(blocks, [*blocks[1:], None]):
            if block.file:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            if block.language != "sh":
                continue
            missing = [name for name in block.needs if importlib.util.find_spec(name) is None]
            if block.no_run:
                self.n_left_out += 1
                self.say(block, f"left out: {block.no_run}")
            elif missing:
                rest = [other for other in blocks[blocks.index(block):] if other.language == "sh" and not other.no_run]
                self.n_left_out += len(rest)
                self.lacks = self.n_run == 0
                self.say(block, f"left out, with what follows: Python cannot import {', '.join(missing)}")
                return
            elif not self.run_block(block, follower):
                return  # what follows builds on it

    def run_block(self, block, follower):
        began = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            try:
                status = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=output, stderr=subprocess.STDOUT, timeout=SECONDS,
                                        env={**os.environ, **ENVIRONMENT}).returncode
            except subprocess.TimeoutExpired:
                status = f"none after {SECONDS} s"
            output.seek(0)
            printed = output.read()
        problem = f"exit status {status}" if status else None
        if not problem and follower and follower.language == "text" and not follower.file:
            missing = first_missing(follower.text, printed)
            problem = f"line {missing!r} of the block at line {follower.line} was not printed, or not in its place" if missing else None
        self.n_run += 1
        if problem:
            self.n_failed += 1
            self.say(block, f"FAILED: {problem}\n{block.text}-- it printed\n{printed[-8000:]}")
        else:
            self.say(block, f"ok, {time.monotonic() - began:.1f} s: {block.text.splitlines()[0]}")
        return not problem


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", metavar="PAGE")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/orrery")
    parser.add_argument("--list", action="store_true", help="only say what would be run")
    arguments = parser.parse_args()
    pages = []
    try:
        of_pages = {name: blocks_of((ROOT / name).read_text(), name) for name in arguments.pages}
    except Mistake as mistake:
        sys.exit(f"run_docs.py: {mistake}")
    if arguments.list:
        for name, blocks in of_pages.items():
            for block in blocks:
                if block.language == "sh":
                    print(f"{name}:{block.line}: {block.note or 'run'}: {block.text.splitlines()[0]}")
        return 0
    if not arguments.program.is_file():
        sys.exit(f"run_docs.py: there is no {arguments.program}: build it with tools/setup.sh")
    for name, blocks in of_pages.items():
        with tempfile.TemporaryDirectory() as folder:
            scratch_copy(pathlib.Path(folder), arguments.program)
            pages.append(Page(name, pathlib.Path(folder)))
            pages[-1].run(blocks)
    total = {key: sum(getattr(page, key) for page in pages) for key in ("n_run", "n_failed", "n_left_out", "lacks")}
    print(f"run_docs.py: {total['n_run']} blocks run, {total['n_failed']} failed, {total['n_left_out']} left out")
    return 1 if total["n_failed"] else 77 if total["lacks"] else 0


if __name__ == "__main__":
    sys.exit(main())
