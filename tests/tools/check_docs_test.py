"""tools/check_docs.py finds what a page names and the tree does not have."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/check_docs.py"
TREE = {"src/graph/layout.cpp": "int width_of() { return 1; }\n", "include/orrery/graph/layout.h": "",
        "docs/other.md": "# Some words\n", "docs/decisions/0503-x.md": "# 503.\n"}


def check(page):
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["git", "init", "-q", root], check=True)
        for name, text in (TREE | {"docs/page.md": page}).items():
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        result = subprocess.run([sys.executable, SCRIPT, root], text=True, capture_output=True)
    return result.returncode, result.stdout


class CheckDocs(unittest.TestCase):
    def assert_good(self, page):
        status, output = check(page)
        self.assertEqual(status, 0, output)

    def assert_missing(self, page, text):
        status, output = check(page)
        self.assertEqual(status, 1, output)
        self.assertIn("docs/page.md:1: " + text, output)

    def test_accepts_what_is_there(self):
        self.assert_good("`src/graph/layout.cpp` `graph/layout.h` `src/graph/layout.{cpp}` `width_of()`\n"
                         "[other](other.md#some-words), decision 503, `src/*/layout.cpp:3`\n")

    def test_finds_a_file_that_is_not_there(self):
        self.assert_missing("`src/graph/gone.cpp`", "there is no src/graph/gone.cpp")
        self.assert_missing("`graph/gone.h`", "there is no graph/gone.h")
        self.assert_missing("`src/graph/{layout,gone}.cpp`", "there is no src/graph/gone.cpp")

    def test_finds_a_link_that_leads_nowhere(self):
        self.assert_missing("[a](gone.md)", "the link gone.md leads nowhere")
        self.assert_missing("[a](other.md#gone)", "docs/other.md has no heading #gone")

    def test_finds_a_function_that_is_not_there(self):
        self.assert_missing("`height_of()`", "there is no function height_of()")

    def test_finds_a_decision_that_is_not_there(self):
        self.assert_missing("see decisions 503 and 504", "there is no decision 504")

    def test_leaves_examples_alone(self):
        self.assert_good("`runs/x/metrics.jsonl` `src/x.cpp`\n```\nsrc/graph/gone.cpp\n```\n")


if __name__ == "__main__":
    unittest.main()
