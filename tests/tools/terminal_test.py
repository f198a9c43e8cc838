#!/usr/bin/env python3
"""What the program shows on a terminal and elsewhere: the progress of a run, and text as it is generated.

    tests/tools/terminal_test.py --program build/dev/orrery [TEST...]

A pseudo terminal stands for the person's; what is read from it is kept in the pieces in which it came.
"""
import argparse
import fcntl
import json
import os
import pathlib
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ""
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "PMIX_MCA_psec": "native", "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
               "TERM": "xterm"}
SECONDS = 240
LONG = 20000  # tokens: seconds, whatever the machine does beside


class OnTerminal:
    """A command whose standard streams are a pseudo terminal, its controlling one."""

    def __init__(self, command, columns=80, environment=ENVIRONMENT, cwd=ROOT, standard_error=None):
        size = struct.pack("HHHH", 24, columns, 0, 0)
        self.began = time.monotonic()
        self.pieces = []
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, size)
            modes = termios.tcgetattr(1)
            modes[1] &= ~termios.OPOST  # line ends as they are written
            termios.tcsetattr(1, termios.TCSANOW, modes)
            if standard_error:
                os.dup2(os.open(standard_error, os.O_WRONLY | os.O_CREAT), 2)
            os.chdir(cwd)
            os.execvpe(command[0], command, environment)

    def read(self, until=None):
        """Until the command has closed the terminal, or so many pieces have come. All text so far."""
        while until is None or len(self.pieces) < until:
            if time.monotonic() - self.began > SECONDS:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"no end after {SECONDS} s: {self.text()[-2000:]!r}")
            try:
                piece = os.read(self.terminal, 1 << 16)
            except OSError:
                break  # nobody holds the other side
            if not piece:
                break
            self.pieces.append(piece)
        return self.text()

    def text(self):
        return b"".join(self.pieces).decode()

    def type(self, keys):
        os.write(self.terminal, keys)

    def end(self):
        """As the shell has it: 128 and the signal that ended the command."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.terminal)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def mpirun(ranks):
    return ["mpirun", "--oversubscribe", "-n", str(ranks), PROGRAM]


def train(folder, *more, config="grpo_tiny", steps=12):
    return mpirun(3) + ["train", f"configs/{config}.cfg", "--set", f"experiment.output_dir={folder}", "--set",
                        f"experiment.total_steps={steps}", *more]


def on_pipes(command, **more):
    return subprocess.run(command, capture_output=True, timeout=SECONDS, cwd=ROOT,
                          env=more.pop("env", ENVIRONMENT), **more)


class Screen:
    """What a terminal shows in the end: it knows \\r, \\n and the erasing of a line from the cursor on."""

    def __init__(self, text, columns=80):
        self.lines, self.rewritten, column = [""], 0, 0
        for part in re.findall(r"\x1b\[K|.", text, re.S):
            line = self.lines[-1]
            if part == "\r":
                self.rewritten += line.startswith("step ")
                column = 0
            elif part == "\n":
                self.lines.append("")
                column = 0
            elif part == "\x1b[K":
                self.lines[-1] = line[:column]
            else:
                if column == columns:
                    self.lines.append("")
                    column = 0
                self.lines[-1] = self.lines[-1][:column] + part + self.lines[-1][column + 1:]
                column += 1


class Generate(unittest.TestCase):
    """One model for all: random weights, bytes as tokens, room for long answers."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        done = on_pipes(train(cls.folder.name, "--set", f"model.actor.max_positions={LONG + 100}", "--set",
                              "evaluate.every_steps=0", steps=1))
        assert done.returncode == 0, done.stderr.decode()
        cls.model = f"{cls.folder.name}/grpo_tiny/models/latest/actor"

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def command(self, *more, tokens=LONG, program=None):
        return [*(program or [PROGRAM]), "generate", "--model", self.model, "--seed", "3", "--eos", "-1",
                "--max-new-tokens", str(tokens), *more]

    def texts(self, prompts, *more, tokens=LONG):
        """What the file of `generate --prompts` has."""
        file = pathlib.Path(self.folder.name, "prompts.jsonl")
        file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        out = pathlib.Path(self.folder.name, "out.json")
        done = on_pipes(self.command("--prompts", str(file), "--out", str(out), *more, tokens=tokens))
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(out.read_text())["texts"]

    def test_text_comes_in_pieces_and_is_that_of_a_file(self):
        expected = self.texts(["1+1="])[0]
        error = pathlib.Path(self.folder.name, "error.txt")
        shown = OnTerminal(self.command("--prompt", "1+1="), standard_error=error)

        shown.read(until=3)
        said_so_far = error.read_text()
        text = shown.read()

        self.assertEqual(shown.end(), 0)
        self.assertEqual(text, expected + "\n")
        self.assertNotIn("generate: 1 sequence", said_so_far)  # three pieces were seen before the end
        self.assertIn(f"generate: 1 sequence, {LONG} tokens in ", error.read_text())
        for piece in shown.pieces:
            piece.decode()  # whole characters

    def test_ctrl_c_ends_at_once_and_leaves_what_was_written(self):
        expected = self.texts(["1+1="])[0]
        shown = OnTerminal(self.command("--prompt", "1+1="), standard_error="/dev/null")
        shown.read(until=5)

        shown.type(b"\x03")
        text = shown.read().replace("^C", "")

        self.assertEqual(shown.end(), 130)
        self.assertTrue(expected.startswith(text[:-1]), text)
        self.assertLess(len(text), len(expected))

    def test_lines_of_standard_input_are_continued_one_after_the_other(self):
        prompts = ["1+1=", "12+30="]
        expected = self.texts(prompts, tokens=20)

        done = on_pipes(self.command("--prompt", "-", tokens=20), input="1+1=\n\n12+30=\n".encode())

        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(done.stdout.decode(), "".join(text + "\n" for text in expected))
        self.assertIn(b"generate: 2 sequences, 40 tokens in ", done.stderr)

    def test_typed_lines_are_answered_before_the_next_is_typed(self):
        expected = self.texts(["1+1=", "2+2="], tokens=20)
        shown = OnTerminal(self.command("--prompt", "-", tokens=20))
        while not shown.text().endswith("> "):
            shown.read(until=len(shown.pieces) + 1)
        shown.type(b"1+1=\n")
        while expected[0] + "\n> " not in shown.text():
            shown.read(until=len(shown.pieces) + 1)
        shown.type(b"2+2=\n")
        while expected[1] + "\n> " not in shown.text():
            shown.read(until=len(shown.pieces) + 1)
        shown.type(b"\x04")
        shown.read()

        self.assertEqual(shown.end(), 0)

    def test_layouts_give_the_same_text(self):
        expected = self.texts(["1+1="], "--dtype", "fp64", tokens=40)[0]
        for layout in ("d2", "p2", "t2"):
            with self.subTest(layout=layout):
                done = on_pipes(self.command("--prompt", "1+1=", "--dtype", "fp64", "--layout", layout,
                                             tokens=40, program=mpirun(3)))

                self.assertEqual(done.returncode, 0, done.stderr.decode())
                self.assertEqual(done.stdout.decode().replace("\r\n", "\n"), expected + "\n")

    def test_an_end_token_is_not_shown(self):
        end = self.texts(["1+1="], "--greedy", tokens=12)[0]
        token = json.loads(pathlib.Path(self.folder.name, "out.json").read_text())["sequences"][0][5]

        done = on_pipes([PROGRAM, "generate", "--model", self.model, "--greedy", "--eos", str(token), "--prompt",
                         "1+1="])

        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertLess(len(done.stdout), len(end.encode()))

    def test_nobody_who_reads_is_an_error(self):
        read, write = os.pipe()
        os.close(read)

        done = subprocess.run(self.command("--prompt", "1+1="), stdout=write, stderr=subprocess.PIPE, cwd=ROOT,
                              env=ENVIRONMENT, timeout=SECONDS)

        os.close(write)
        self.assertEqual(done.returncode, 5)
        self.assertIn(b"standard output cannot be written", done.stderr)

    def test_what_cannot_be_meant_is_refused(self):
        for more, message in ((["--prompt", "a", "--out", "x.json"], b"--out has no meaning with --prompt"),
                              (["--prompt", "a", "--prompts", "x.jsonl"], b"or --prompt TEXT"),
                              (["--prompt", "1" * (LONG + 1000)], b"one must be left to generate")):
            done = on_pipes(self.command(*more))
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)
        done = on_pipes([PROGRAM, "generate", "--model", self.model])
        self.assertEqual(done.returncode, 2)
        self.assertNotIn(b"missing", done.stderr)  # of what a prompt needs nothing is
        self.assertIn(b"--prompt - continues each line", done.stderr)


class Train(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_terminal_shows_one_line_that_is_rewritten_and_never_wraps(self):
        for columns in (80, 60):
            with self.subTest(columns=columns):
                shown = OnTerminal(train(self.folder.name, "--resume", "off"), columns=columns)

                text = shown.read()

                self.assertEqual(shown.end(), 0, text)
                screen = Screen(text, columns)
                steps = [line for line in screen.lines if line.startswith("step ")]
                self.assertEqual(len(steps), 1, text)
                self.assertRegex(steps[0], r"^step 12/12 reward \S+ accuracy \S+ .*tokens/s \S+ s left")
                self.assertLess(len(steps[0]), columns)
                self.assertGreaterEqual(screen.rewritten, 11)

    def test_warnings_do_not_tear_the_line(self):
        shown = OnTerminal(train(self.folder.name, steps=25))

        text = shown.read()

        self.assertEqual(shown.end(), 0, text)
        screen = Screen(text, columns=1000)
        # Random weights earn nothing: of that one is warned in step 20, by the log.
        self.assertRegex("\n".join(screen.lines), r"\n\d\d:\d\d:\d\d warning call\.\S+ for 20 steps [^\n]*\n")
        for line in screen.lines:
            self.assertIsNone(re.search(r"step \d+/25 .*(warning|checkpoint|evaluation) ", line), line)

    def test_elsewhere_there_is_at_most_a_line_a_minute(self):
        began = time.monotonic()
        done = on_pipes(train(self.folder.name, steps=25))
        minutes = (time.monotonic() - began) / 60

        self.assertEqual(done.returncode, 0, done.stderr.decode())
        text = done.stderr.decode()
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\r", text)
        steps = re.findall(r"^step (\d+)/25 .*$", text, re.M)
        self.assertEqual((steps[0], steps[-1]), ("1", "25"))
        self.assertLessEqual(len(steps), 2 + int(minutes))
        self.assertLessEqual(max(len(line) for line in re.findall(r"^step .*$", text, re.M)), 80)

    def test_a_dumb_terminal_is_not_rewritten(self):
        shown = OnTerminal(train(self.folder.name, steps=2), environment={**ENVIRONMENT, "TERM": "dumb"})

        text = shown.read()

        self.assertEqual(shown.end(), 0, text)
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\rstep", text)

    def test_the_three_commands_at_the_end_work(self):
        for config, more in (("grpo_tiny", []), ("dpo_tiny", [])):
            with self.subTest(config=config):
                done = on_pipes(train(self.folder.name, *more, config=config, steps=2))
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                commands = re.search(r"^next:\n((?:  .*\n)+)", done.stderr.decode(), re.M)[1].splitlines()
                self.assertEqual(len(commands), 3)
                self.assertEqual([shlex.split(command)[-1] for command in commands][0], "report.html")
                for command in commands:
                    ran = subprocess.run(command, shell=True, capture_output=True, timeout=SECONDS,
                                         cwd=self.folder.name, env=ENVIRONMENT, stdin=subprocess.DEVNULL)
                    self.assertEqual(ran.returncode, 0, command + "\n" + ran.stderr.decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    options, rest = parser.parse_known_args()
    PROGRAM = str(pathlib.Path(options.program).resolve())
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
