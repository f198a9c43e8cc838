#!/usr/bin/env python3
"""Makes the data of the word problems: stories with numbers, their worked solutions, and a tokenizer for them.

    tools/make_word_problems.py [FOLDER] [--seed N] [--train N] [--test N]

Default: runs/word_problems with 20,000 problems to train on and 256 in each of two sets to evaluate. Same
arguments, same bytes. Written are

    train.jsonl   1 to 3 steps, at most one number that is not needed
    test.jsonl    others of the same kind
    hard.jsonl    3 or 4 steps and two numbers that are not needed
    tokenizer/    byte-level BPE with a token for each word of the stories; digits stay single

A record has `question`, `answer` (the worked solution with its last line, `12+5=17 17-3=14 #### 14`), `level`
(steps), `story` and `id`. No question is in two of the files. Every number is from 0 to 40.
"""
import argparse
import json
import pathlib
import random
import re

NAMES = ["Ann", "Bob", "Eva", "Leo", "Mia", "Tom"]
THINGS = ["apples", "books", "cards", "coins", "pens", "stamps", "shells", "stones"]
LARGEST, MOST = 40, 6  # of all numbers that are computed; of those that come and go
END = "<|end|>"


class Story:
    """A problem as it grows: sentences, the steps of its solution, and the number so far."""

    def __init__(self, draw, value, sentence):
        self.draw, self.value, self.sentences, self.steps = draw, value, [sentence], []

    def step(self, sign, number, sentence):
        value = {"+": self.value + number, "-": self.value - number, "*": self.value * number}[sign]
        self.steps.append(f"{self.value}{sign}{number}={value}")
        self.value = value
        self.sentences.append(sentence)


def change(story, gains, losses, growth):
    """One more step: a sentence of `gains` or `losses` with a number, or one that multiplies."""
    draw = story.draw
    signs = [sign for sign, fits in (("+", story.value <= LARGEST - MOST), ("-", story.value >= MOST),
                                     ("*", 2 <= story.value <= LARGEST // 3)) if fits]
    sign = draw.choice([sign for sign in signs if sign != "*" or draw.random() < 0.5] or signs)
    if sign == "*":
        number, text = draw.choice(growth)
        return story.step(sign, number, text)
    number = draw.randint(2, MOST)
    story.step(sign, number, draw.choice(gains if sign == "+" else losses).format(number))


def collection(draw, steps):
    """Somebody has things, gets some and loses some."""
    name, other = draw.sample(NAMES, 2)
    thing = draw.choice(THINGS)
    value = draw.randint(3, 15)
    story = Story(draw, value, f"{name} has {value} {thing}.")
    for _ in range(steps):
        change(story, [f"{name} finds {{}} more.", f"{other} gives {name} {{}} more.", f"Then {name} buys {{}}."],
               [f"{name} loses {{}} of them.", f"{name} gives {other} {{}}.", f"Then {name} sells {{}}."],
               [(2, f"Then the number of {thing} doubles."), (3, f"Then the number of {thing} triples.")])
    return story, f"How many {thing} does {name} have now?", name, thing


def boxes(draw, steps):
    """Boxes with as many things in each; things come and go."""
    name = draw.choice(NAMES)
    thing = draw.choice(THINGS)
    count, each = draw.randint(2, 5), draw.randint(2, 6)
    story = Story(draw, count, f"{name} has {count} boxes with {each} {thing} in each box.")
    story.step("*", each, "")
    for _ in range(steps - 1):
        change(story, [f"{name} puts {{}} more into a box.", "Then {} more are brought."],
               [f"{name} takes {{}} out of a box.", "Then {} of them break."],
               [(2, "Then there are twice as many.")])
    return story, f"How many {thing} are in the boxes now?", name, thing


def shop(draw, steps):
    """A shop sells things at a price; what is paid for them, with what comes on top or off."""
    name = draw.choice(NAMES)
    thing = draw.choice(THINGS)
    count, price = draw.randint(2, 5), draw.randint(2, 6)
    story = Story(draw, count, f"{name} buys {count} {thing} for {price} dollars each.")
    story.step("*", price, "")
    for _ in range(steps - 1):
        change(story, ["A bag costs {} dollars more.", f"{name} also pays {{}} dollars for the way."],
               ["The shop takes {} dollars off.", f"A friend pays {{}} dollars of it."],
               [(2, "Then the bill doubles.")])
    return story, f"How many dollars does {name} pay?", name, thing


STORIES = {"collection": collection, "boxes": boxes, "shop": shop}


def aside(draw, name, thing):
    """A sentence with a number that the question does not need."""
    other = draw.choice([n for n in NAMES if n != name])
    unused = draw.choice([t for t in THINGS if t != thing])
    return draw.choice([f"{name} is {{}} years old.", f"{other} has {{}} {unused}.",
                        "It is {} degrees outside."]).format(draw.randint(2, 30))


def problem(draw, steps, n_asides):
    kind = draw.choice(sorted(STORIES))
    story, question, name, thing = STORIES[kind](draw, steps)
    sentences = [sentence for sentence in story.sentences if sentence]
    for _ in range(n_asides):
        sentences.insert(draw.randint(1, len(sentences)), aside(draw, name, thing))
    return {"question": " ".join([*sentences, question]),
            "answer": f"{' '.join(story.steps)} #### {story.value}", "level": steps, "story": kind}


def problems(draw, count, levels, asides, seen):
    """`count` problems whose questions are not in `seen`, to which they are added."""
    found = []
    while len(found) < count:
        made = problem(draw, draw.choice(levels), draw.choice(asides))
        if made["question"] not in seen:
            seen.add(made["question"])
            found.append(made)
    return found


# --------------------------------------------------------------------------------------- tokenizer


def byte_letters():
    """The visible characters that stand for bytes in tokenizer.json, as GPT-2 chose them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def tokenizer(texts):
    """tokenizer.json in which every word of `texts`, with the blank before it, is one token. A word is built from
    its beginning, a letter at a time; words with a blank before them first, so no merge gets in another's way."""
    words = {word for text in texts for word in re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z0-9]+", text)}
    letters = byte_letters()
    vocab = {letter: i for i, letter in enumerate(letters.values())}
    merges = []
    for word in sorted(words, key=lambda word: (not word.startswith(" "), word)):
        spelled = "".join(letters[byte] for byte in word.encode())
        for end in range(1, len(spelled)):
            if spelled[:end + 1] not in vocab:
                vocab[spelled[:end + 1]] = len(vocab)
                merges.append([spelled[:end], spelled[end]])
    end = {"id": len(vocab), "content": END, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {**vocab, END: len(vocab)}, "merges": [" ".join(pair) for pair in merges]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("runs/word_problems"))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--train", type=int, default=20000)
    parser.add_argument("--test", type=int, default=256)
    arguments = parser.parse_args()
    draw, seen = random.Random(arguments.seed), set()
    sets = {"test": problems(draw, arguments.test, [1, 2, 3], [0, 1], seen),
            "hard": problems(draw, arguments.test, [3, 4], [2], seen),
            "train": problems(draw, arguments.train, [1, 2, 3], [0, 1], seen)}
    (arguments.folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name, records in sets.items():
        path = arguments.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"id": f"{name}-{i}", **record}) + "\n"
                                for i, record in enumerate(records)))
        print(f"{path}: {len(records)} problems")
    made = tokenizer(text for records in sets.values() for record in records
                     for text in (record["question"], " " + record["answer"]))
    folder = arguments.folder / "tokenizer"
    (folder / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}) + "\n")
    print(f"{folder}: {len(made['model']['vocab'])} tokens")


if __name__ == "__main__":
    main()
