#!/usr/bin/env python3
"""Checks that the program looks at files through base/file.h, where what cannot be read is no absence.

    tools/check_lookups.py [ROOT]     exit status 1 and one line per offence, with file and line
"""
import pathlib
import re
import sys

# With an error code they say "no" of what cannot be looked at; without one they throw what is no Error.
BARE = re.compile(
    r"\b(?:fs|filesystem)::(?:exists|is_directory|is_regular_file|is_symlink|is_empty|file_size|status|"
    r"symlink_status|directory_iterator|recursive_directory_iterator)\b"
    r"|\bifstream\b|\bfopen\(|\bopendir\(|(?<!f)\bl?stat\(|\baccess\(.*_OK")
ALLOWED = {
    "src/base/file.cpp": "here it is done",
    "src/base/launcher.cpp": "/proc, which need not be there",
    "src/metrics/jsonl_writer.cpp": "a file that is there; a failed read is an error",
    "src/metrics/resident_memory.cpp": "/proc, which need not be there",
    "src/report/run.cpp": "a file that is there and grows; a failed read is an error",
    "src/report/samples.cpp": "of a listing; a failed read is an error",
    "src/report/watch_frame.cpp": "of a listing; a failed read is an error",
    "src/report/worker_times.cpp": "of a listing; a failed read is an error",
    "src/worker/watchdog.cpp": "a state that cannot be read shows no progress",
    "src/algorithm/spawner.cpp": "PATH has folders that are not there",
    "src/checkpoint/run_lock.cpp": "of a file that this process holds open",
    "src/cli/doctor.cpp": "/proc, and a file that another node shows late",
    "src/cli/node_memory.cpp": "/proc and control groups, which need not be there",
    "src/cli/text_file.cpp": "whether a folder that is there can be written",
}


def offences(text):
    """(line number, what) for each bare lookup; comments are none."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := BARE.search(re.sub(r"//.*", "", re.sub(r"\s*#\s*include.*", "", line))):
            yield number, found.group(0).partition("(")[0]


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found = checked = 0
    for path in sorted(path for top in ("include", "src") for path in (root / top).rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix not in {".h", ".cpp", ".cu"} or name in ALLOWED:
            continue
        checked += 1
        for number, what in offences(path.read_text()):
            print(f"{name}:{number}: {what}: look through base/file.h, or say in tools/check_lookups.py why not")
            found += 1
    print(f"check_lookups.py: {checked} files, {found} offences")
    sys.exit(1 if found or not checked else 0)


if __name__ == "__main__":
    main()
