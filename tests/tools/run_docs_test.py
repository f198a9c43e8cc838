"""tools/run_docs.py: blocks are read and run as documented, and what is shown must be what is printed."""
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import run_docs  # noqa: E402


def sh(text, note=""):
    return f"```sh{' ' if note else ''}{note}\n{text}\n```\n"


def shown(text):
    return f"```text\n{text}\n```\n"


class Compared(unittest.TestCase):
    def assert_shown(self, expected, printed):
        self.assertIsNone(run_docs.first_missing(expected, printed))

    def test_other_lines_between_and_numbers_do_not_matter(self):
        self.assert_shown("step 1/100 loss 2.5\n...\nfinished after step 100, 2m54s", "step 1/40 loss 1.9e-3\nwarning\nfinished  after step 40, 12 s")

    def test_order_and_words_matter(self):
        self.assertEqual(run_docs.first_missing("a 1\nb 2", "b 2\na 1"), "b 2")
        self.assertEqual(run_docs.first_missing("loss 1.5", "lost 1.5"), "loss 1.5")
        self.assertEqual(run_docs.first_missing("a\na", "a"), "a")

    def test_accuracies_are_near(self):
        self.assert_shown("eval/accuracy 0.61", "eval/accuracy 0.70")
        self.assertEqual(run_docs.first_missing("eval/accuracy 0.61", "eval/accuracy 0.40"), "eval/accuracy 0.61")


class Read(unittest.TestCase):
    def test_a_block_without_a_language_is_a_mistake(self):
        with self.assertRaisesRegex(run_docs.Mistake, "p.md:2: the block names no language"):
            run_docs.blocks_of("x\n```\na\n```\n", "p.md")

    def test_a_note_that_is_not_known_is_a_mistake_and_so_is_a_missing_reason(self):
        for note in ("norun", "no-run", "no-run:"):
            with self.assertRaises(run_docs.Mistake):
                run_docs.blocks_of(sh("a", note), "p.md")

    def test_a_block_behind_the_name_of_a_file_is_that_file(self):
        block, = run_docs.blocks_of("`mine/a.cfg`, the first one:\n\n```ini\nx = 1\n```\n", "p.md")

        self.assertEqual((block.file, block.text), ("mine/a.cfg", "x = 1\n"))


class Run(unittest.TestCase):
    def run_page(self, text):
        page = ROOT / "build" / "page_for_test.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(text)
        self.addCleanup(page.unlink)
        done = subprocess.run([sys.executable, ROOT / "tools/run_docs.py", "--program", sys.executable, str(page)], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_blocks_run_in_order_in_a_copy_of_the_tree(self):
        status, said = self.run_page("`new/a.txt`:\n```ini\nhello\n```\n" + sh("test -f README.md; cat new/a.txt > b; build/release/orrery -c 'print(1)'")
                                     + sh("cat b") + shown("hello"))

        self.assertEqual(status, 0, said)
        self.assertIn("2 blocks run, 0 failed, 0 left out", said)
        self.assertFalse((ROOT / "new").exists())

    def test_a_command_that_fails_ends_the_page(self):
        status, said = self.run_page(sh("false\ntrue") + sh("true"))

        self.assertEqual(status, 1)
        self.assertIn("exit status 1", said)
        self.assertIn("1 blocks run, 1 failed", said)

    def test_what_is_shown_and_not_printed_fails(self):
        status, said = self.run_page(sh("echo hello") + shown("good bye"))

        self.assertEqual(status, 1)
        self.assertIn("line 'good bye'", said)

    def test_what_is_left_out_is_counted_with_its_reason(self):
        status, said = self.run_page(sh("false", "no-run: it never ends well") + sh("true"))

        self.assertEqual(status, 0, said)
        self.assertIn("left out: it never ends well", said)
        self.assertIn("1 blocks run, 0 failed, 1 left out", said)

    def test_what_needs_a_package_that_is_not_there_is_no_success(self):
        status, said = self.run_page(sh("true", "needs: no_such_package") + sh("true"))

        self.assertEqual(status, 77)
        self.assertIn("Python cannot import no_such_package", said)
        self.assertIn("0 blocks run, 0 failed, 2 left out", said)

    def test_what_ran_before_a_package_was_missing_counts(self):
        status, said = self.run_page(sh("true") + sh("true", "needs: no_such_package"))

        self.assertEqual(status, 0, said)
        self.assertIn("1 blocks run, 0 failed, 1 left out", said)


if __name__ == "__main__":
    unittest.main()
