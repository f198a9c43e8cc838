"""tools/check_words.py finds words that are gone, but for the files where they stay."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/check_words.py"
LIST = "# words\n\\bgadgets?\\b | reference | docs/old-*.md\n"


def check(name, text):
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["git", "init", "-q", root], check=True)
        for path, content in (("tools/words.txt", LIST), (name, text)):
            path = pathlib.Path(root) / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        result = subprocess.run([sys.executable, SCRIPT, root], text=True, capture_output=True)
    return result.returncode, result.stdout


class CheckWords(unittest.TestCase):
    def test_finds_a_word_and_says_what_to_write(self):
        status, output = check("src/a.cpp", "// fine\n// its gadget\n")
        self.assertEqual(status, 1)
        self.assertIn("src/a.cpp:2: 'gadget': write reference", output)

    def test_leaves_other_words_alone(self):
        self.assertEqual(check("src/a.cpp", "// gadgetry\n")[0], 0)

    def test_leaves_files_alone_where_it_stays(self):
        self.assertEqual(check("docs/old-words.md", "gadget\n")[0], 0)

    def test_leaves_data_alone(self):
        self.assertEqual(check("tests/a.json", "gadget\n")[0], 0)


if __name__ == "__main__":
    unittest.main()
