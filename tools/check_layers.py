#!/usr/bin/env python3
"""Checks that folders include only those before them, as docs/architecture.md says.

    tools/check_layers.py [ROOT]     exit status 1 and one line per offence, with file and line
"""
import pathlib
import re
import sys

ORDER = ["base", "config", "graph", "data", "metrics", "checkpoint", "comm", "kernels", "model",
         "parallel", "algorithm", "worker", "master", "search", "report", "cli"]
# What a folder may not use although it stands before it: the master sees no tensor.
FORBIDDEN = {
    "master": {"worker", "kernels", "model", "parallel", "algorithm"},
    "worker": {"master"},
}
TENSORS = re.compile(r'\s*#\s*include\s*[<"](ATen|c10|torch)/')
MPI = re.compile(r'\s*#\s*include\s*[<"]mpi\.h')
PLAIN = {"base", "config", "graph", "metrics", "master", "report"}  # neither tensors nor MPI
OWN = re.compile(r'\s*#\s*include\s*"orrery/([a-z_]+)/')
# A private header of another folder: "comm/mpi_frames.h" or "../comm/mpi_frames.h".
PRIVATE = re.compile(r'\s*#\s*include\s*"(?:\.\./)*([a-z_]+)/')


def offences(path, folder):
    """(line number, text) for each #include of `path` that its folder may not have."""
    allowed = set(ORDER[: ORDER.index(folder) + 1]) - FORBIDDEN.get(folder, set())
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if own := OWN.match(line):
            if own.group(1) not in ORDER:
                yield number, f"unknown folder {own.group(1)}"
            elif own.group(1) not in allowed:
                yield number, f"{folder} may not use {own.group(1)}"
        elif private := PRIVATE.match(line):
            if private.group(1) in ORDER and private.group(1) != folder:
                yield number, f"{folder} may not see a private header of {private.group(1)}"
        if folder in PLAIN and TENSORS.match(line):
            yield number, f"{folder} may not see tensors"
        if folder in PLAIN and MPI.match(line):
            yield number, f"{folder} may not see MPI"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    if root.is_file():
        root = root.parent.parent
    found = checked = 0
    for top in (root / "include/orrery", root / "src"):
        for path in sorted(top.rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu"} or path.parent == root / "src":
                continue
            checked += 1
            folder = path.relative_to(top).parts[0]
            if folder not in ORDER:
                print(f"{path.relative_to(root)}:1: unknown folder {folder}")
                found += 1
                continue
            for number, text in offences(path, folder):
                print(f"{path.relative_to(root)}:{number}: {text}")
                found += 1
    print(f"check_layers.py: {checked} files, {found} offences")
    sys.exit(1 if found or not checked else 0)


if __name__ == "__main__":
    main()
