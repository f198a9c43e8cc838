#!/usr/bin/env python3
"""Looks for words that are gone (tools/words.txt) in everything that people read.

    tools/check_words.py [TREE]     exit status 1 if there are any, each with its place

cost: seconds
"""
import fnmatch
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
LIST = "tools/words.txt"
# Recorded data speaks as whoever recorded it.
DATA = (".json", ".jsonl", ".safetensors", ".h5", ".bin", ".model", ".lock")


def rules():
    """(pattern, what to write instead, globs of the files where it stays) of each line."""
    for number, line in enumerate((ROOT / LIST).read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        # A bar inside an expression is an alternative: columns have blanks around theirs.
        columns = re.split(r"\s+\|(?:\s+|$)", line)
        if len(columns) != 3:
            sys.exit(f"{LIST}:{number}: expected expression | words | globs, got {line!r}")
        yield re.compile(columns[0].strip()), columns[1].strip(), columns[2].split()


def main():
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    found = 0
    words = list(rules())
    for name in files:
        path = ROOT / name
        if name == LIST or not name or name.endswith(DATA) or name.startswith("tests/fixtures/"):
            continue
        if not path.is_file() or path.is_symlink():
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for pattern, instead, stays in words:
            if any(fnmatch.fnmatch(name, glob) for glob in stays):
                continue
            for number, line in enumerate(lines, start=1):
                if match := pattern.search(line):
                    print(f"{name}:{number}: '{match[0]}': write {instead}")
                    found += 1
    print(f"check_words.py: {found} words that are gone" if found else "check_words.py: ok")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
