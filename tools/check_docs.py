#!/usr/bin/env python3
"""Checks that what the documents name exists: links, paths, functions, decisions.

    tools/check_docs.py [TREE]      exit status 1 if something is missing, each with its place

A path is anything in `code` that begins with a folder of this tree (`src/cli/plan.cpp`), or a file
of a folder as an #include names it (`graph/layout.h`); a file called x stands for any. `name()` is
a function of the sources or tools. A decision is `decision 503` or `decisions 503 and 771`.

cost: seconds
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
FOLDERS = ("src", "include", "tests", "tools", "configs", "docs", "slurm", ".ci", ".github")
# Where a file that is named as in an #include may lie.
ROOTS = ("", "include/orrery/", "src/", "tests/", "docs/")
SOURCES = (".h", ".cpp", ".cu", ".py", ".sh", ".txt", ".cmake")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^\s*```")
PATH = re.compile(r"^[\w.][\w./*{},-]*$")
FUNCTION = re.compile(r"^(?:[\w:]+::)?(~?\w+)\(\)$")
ANY = re.compile(r"(^|/)x([._]|$)")
DECISIONS = re.compile(r"\bdecisions? (\d+(?:(?:, | and |, and )\d+)*)\b")


def tracked():
    """Names of the files that are or may be committed."""
    output = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in output.split("\0") if name]


def braces(path):
    """`a.{h,cpp}` -> `a.h`, `a.cpp`."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [whole for part in found[1].split(",")
            for whole in braces(path[:found.start()] + part + path[found.end():])]


def anchors(text):
    """The anchors of a page's headings, as the common renderers make them."""
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


class Checker:
    def __init__(self, files):
        self.files = set(files)
        self.folders = {str(parent) for name in files for parent in pathlib.PurePath(name).parents}
        self.problems = []
        self.words = set()
        for name in files:
            if name.endswith(SOURCES):
                self.words.update(re.findall(r"\w+", (ROOT / name).read_text(errors="replace")))
        self.decisions = {int(match[1]) for name in files
                          if (match := re.match(r"docs/decisions/(\d+)-", name))}

    def exists(self, path):
        path = path.rstrip("/")
        if "*" in path:
            pattern = re.compile(re.escape(path).replace(r"\*", "[^/]*") + "$")
            return any(pattern.match(name) for name in self.files | self.folders)
        return path in self.files or path in self.folders

    def check(self, name):
        text = (ROOT / name).read_text()
        is_fenced = False
        for number, line in enumerate(text.splitlines(), start=1):
            is_fenced ^= bool(FENCE.match(line))
            place = f"{name}:{number}"
            if not is_fenced:
                for target in LINK.findall(line):
                    self.check_link(place, name, text, target)
                for code in CODE.findall(line):
                    self.check_code(place, code)
            for numbers in DECISIONS.findall(line):
                for one in re.findall(r"\d+", numbers):
                    if int(one) not in self.decisions:
                        self.problems.append(f"{place}: there is no decision {one}")

    def check_link(self, place, name, text, target):
        if re.match(r"[a-z]+:", target):
            return
        path, _, anchor = target.partition("#")
        resolved = name
        if path:
            parts = []
            for part in (pathlib.PurePath(name).parent / path).parts:
                if part == "..":
                    parts = parts[:-1]
                else:
                    parts.append(part)
            resolved = "/".join(parts)
            if not self.exists(resolved):
                self.problems.append(f"{place}: the link {target} leads nowhere")
                return
        if anchor and resolved.endswith(".md") and \
                anchor not in anchors((ROOT / resolved).read_text()):
            self.problems.append(f"{place}: {resolved} has no heading #{anchor}")

    def check_code(self, place, code):
        if match := FUNCTION.match(code):
            if match[1].lstrip("~") not in self.words and not ANY.search(match[1]):
                self.problems.append(f"{place}: there is no function {code}")
            return
        path = code.split(":")[0]
        if not PATH.match(path) or "/" not in path or ANY.search(path):
            return
        first = path.split("/")[0]
        is_ours = first in FOLDERS
        is_header = path.endswith((".h", ".cpp", ".cu")) and any(
            f"{root}{first}" in self.folders for root in ROOTS[1:4])
        if not is_ours and not is_header:
            return
        for one in braces(path):
            if not any(self.exists(root + one) for root in (("",) if is_ours else ROOTS)):
                self.problems.append(f"{place}: there is no {one}")


def main():
    files = tracked()
    checker = Checker(files)
    pages = [name for name in files if name.endswith(".md") and not name.startswith("tests/golden")]
    for name in pages:
        if (ROOT / name).is_file():
            checker.check(name)
    print("\n".join(checker.problems + [f"check_docs.py: {len(pages)} pages, "
                                        f"{len(checker.problems)} things that there are not"]))
    sys.exit(1 if checker.problems else 0)


if __name__ == "__main__":
    main()
