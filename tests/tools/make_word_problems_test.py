"""tools/make_word_problems.py: problems whose solutions hold, sets that share nothing, and a tokenizer of whole words.

    make_word_problems_test.py [--program ORRERY]     with the program: the recipes take what was written
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tools" / "make_word_problems.py"
PROGRAM = None
SETS = ("train", "test", "hard")


def make(folder, *arguments):
    subprocess.run([sys.executable, str(SCRIPT), str(folder), "--train", "1500", "--test", "120", *arguments],
                   check=True, capture_output=True)
    return {name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
            for name in SETS}


class WordProblems(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.sets = make(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(self):
        with tempfile.TemporaryDirectory() as again, tempfile.TemporaryDirectory() as other:
            make(pathlib.Path(again))
            make(pathlib.Path(other), "--seed", "43")
            for name in (*(f"{name}.jsonl" for name in SETS), "tokenizer/tokenizer.json"):
                here = (self.folder / name).read_bytes()
                self.assertEqual(here, (pathlib.Path(again) / name).read_bytes())
                if name.endswith(".jsonl"):
                    self.assertNotEqual(here, (pathlib.Path(other) / name).read_bytes())

    def test_no_question_is_asked_twice(self):
        questions = [record["question"] for records in self.sets.values() for record in records]
        self.assertEqual(len(questions), 1500 + 2 * 120)
        self.assertEqual(len(set(questions)), len(questions))
        ids = [record["id"] for records in self.sets.values() for record in records]
        self.assertEqual(len(set(ids)), len(ids))

    def test_every_solution_holds_and_uses_the_numbers_of_its_story(self):
        for records in self.sets.values():
            for record in records:
                steps, answer = record["answer"].split(" #### ")
                value = None
                told = re.findall(r"\d+", record["question"])
                words = {"doubles": "2", "triples": "3", "twice": "2"}
                told += [number for word, number in words.items() for _ in range(record["question"].count(word))]
                for step in steps.split():
                    left, sign, right, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", step).groups()
                    self.assertIn(right, told, record)
                    if value is None:
                        self.assertIn(left, told, record)
                    else:
                        self.assertEqual(left, value, record)
                    self.assertEqual(int(result), {"+": int(left) + int(right), "-": int(left) - int(right),
                                                   "*": int(left) * int(right)}[sign], record)
                    self.assertTrue(0 <= int(result) <= 40, record)
                    value = result
                self.assertEqual(answer, value, record)
                self.assertEqual(record["level"], len(steps.split()), record)

    def test_the_hard_set_has_more_steps_and_more_numbers_that_are_not_needed(self):
        levels = {name: {record["level"] for record in records} for name, records in self.sets.items()}
        self.assertEqual(levels, {"train": {1, 2, 3}, "test": {1, 2, 3}, "hard": {3, 4}})
        for record in self.sets["hard"]:
            grows = sum(record["question"].count(word) for word in ("doubles", "triples", "twice"))
            needed = 1 + record["level"] - grows
            self.assertEqual(len(re.findall(r"\d+", record["question"])), needed + 2, record)

    def test_the_tokenizer_has_a_token_for_every_word(self):
        model = json.loads((self.folder / "tokenizer" / "tokenizer.json").read_text())["model"]
        for record in self.sets["test"]:
            for word in re.findall(r" [A-Za-z]+", record["question"]):
                self.assertIn("\u0120" + word[1:], model["vocab"])
        self.assertLess(len(model["vocab"]), 512, "the models of the recipes have so many")

    def test_the_problems_that_are_shipped_are_the_first_ones(self):
        shipped = (REPOSITORY / "configs/data/word_problems.jsonl").read_text().splitlines()
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, str(SCRIPT), folder, "--train", str(len(shipped))], check=True, capture_output=True)
            self.assertEqual(shipped, (pathlib.Path(folder) / "train.jsonl").read_text().splitlines())

    def test_the_recipes_take_what_was_written(self):
        if PROGRAM is None:
            self.skipTest("no --program")
        for recipe, names, more in (("sft", ("train", "test"), []),
                                    ("grpo", SETS, ["model.actor.path=", "model.actor.vocab_size=512"])):
            sets = [f"dataset.{name}.path={self.folder / (name + '.jsonl')}" for name in names]
            sets += [f"model.actor.tokenizer={self.folder / 'tokenizer'}", *more]
            done = subprocess.run(
                [PROGRAM, "plan", str(REPOSITORY / f"configs/recipes/{recipe}_word_problems.cfg"), "--workers", "2",
                 *(word for text in sets for word in ("--set", text))], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        PROGRAM = sys.argv[2]
        del sys.argv[1:3]
    unittest.main()
