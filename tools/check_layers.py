#!/usr/bin/env python3
"""Checks that folders include only those before them, as docs/architecture.md says.

    tools/check_layers.py          exit status 1 and one line per offence, with file and line
"""
import pathlib
import re
import sys

ORDER = ["base", "config", "graph", "data", "metrics", "checkpoint", "comm", "kernels", "model",
         "parallel", "algorithm", "worker", "master", "cli"]
# What a folder may not use although it stands before it: the master sees no tensor.
FORBIDDEN = {
    "master": {"worker", "kernels", "model", "parallel", "algorithm"},
    "worker": {"master"},
}
TENSORS = re.compile(r'#include [<"](ATen|c10|torch)/')
WITHOUT_TENSORS = {"base", "config", "graph", "metrics", "master"}
OWN = re.compile(r'#include "orrery/([a-z_]+)/')


def offences(path, folder):
    """(line number, text) for each #include of `path` that its folder may not have."""
    allowed = set(ORDER[: ORDER.index(folder) + 1]) - FORBIDDEN.get(folder, set())
    for number, line in enumerate(path.read_text().splitlines(), 1):
        own = OWN.match(line)
        if own and own.group(1) not in allowed:
            yield number, f"{folder} may not use {own.group(1)}"
        if folder in WITHOUT_TENSORS and TENSORS.match(line):
            yield number, f"{folder} may not see tensors"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    found = 0
    for top in (root / "include/orrery", root / "src"):
        for path in sorted(top.rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu"} or path.parent == root / "src":
                continue
            folder = path.relative_to(top).parts[0]
            if folder not in ORDER:
                print(f"{path.relative_to(root)}:1: unknown folder {folder}")
                found += 1
                continue
            for number, text in offences(path, folder):
                print(f"{path.relative_to(root)}:{number}: {text}")
                found += 1
    print(f"check_layers.py: {found} offences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
