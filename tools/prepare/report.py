"""What was done: counts, lengths, what was refused, examples, and lines for the configuration."""
import collections
import random
import re

from .problem import Problem, tokens
from .readers import Arrow
from .styles import KINDS

DEFAULT_MAX_PROMPT, DEFAULT_MAX_TOKENS = 1024, 2048  # of a [dataset.X] section
SHOWN = 1200  # characters of an example
FORMAT_IS_INSIDE = "# The chat format and the beginning-of-sequence token are in the files: no prompt_prefix and the like, no add_bos."
CANONICAL_INTEGER = re.compile(r"\s*-?[0-9]+\s*")


def quoted_if_needed(value):
    """As configuration files take it: a # or ; behind a space begins a comment."""
    if not re.search(r'(^|[ \t])[#;]|^"', value) and value == value.strip():
        return value
    return '"' + value.replace('"', '""') + '"'


class Lengths:
    """Mean, 99 % and longest of many, in the room of the different ones."""

    def __init__(self):
        self.counts = collections.Counter()

    def add(self, n):
        self.counts[n] += 1

    def summary(self):
        n, total = self.counts.total(), sum(length * count for length, count in self.counts.items())
        seen = 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= 0.99 * n:
                return total / n, length, max(self.counts)

    def longest(self):
        return max(self.counts)


class Report:
    def __init__(self, args, source, parts, about):
        self.args, self.source, self.parts, self.about = args, source, parts, about
        self.layout = None
        self.n_refused, self.named, self.reasons = 0, [], collections.Counter()
        self.left_out = {}
        self.counts = [0] * len(parts)
        self.lengths = collections.defaultdict(Lengths)
        self.longest = [collections.Counter() for _ in parts]
        self.examples, self.random = [], random.Random(args.seed)
        self.n_answers = self.n_integers = self.n_apart = 0

    @property
    def n_kept(self):
        return sum(self.counts)

    def refuse(self, number, problem):
        self.n_refused += 1
        # The same mistake with another number or name is the same mistake.
        self.reasons[re.sub(r"\d+", "N", re.sub(r"(?<=id )\".*\"(?= was)", "X", problem))[:120]] += 1
        if len(self.named) < tokens.NAMED:
            self.named.append(f"  {self.source.where(number)}: {problem}")
        if len(self.reasons) > 1000:
            self.reasons = collections.Counter(dict(self.reasons.most_common(500)))

    def leave_out(self, why, number):
        n, first = self.left_out.get(why, (0, []))
        self.left_out[why] = (n + 1, [*first, number] if len(first) < 5 else first)

    def keep(self, number, part, texts, ids):
        self.counts[part] += 1
        for name, list in ids.items():
            self.lengths[name].add(len(list))
        longest = self.longest[part]
        n_prompt = len(ids["prompt"])
        longest["prompt"] = max(longest["prompt"], n_prompt)
        answers = [len(list) for name, list in ids.items() if name != "prompt"]
        if answers:
            longest["all"] = max(longest["all"], n_prompt + max(answers) + 1)
        if texts.get("answer"):
            self.n_answers += 1
            self.n_integers += CANONICAL_INTEGER.fullmatch(texts["answer"]) is not None
        # Every record has the same chance of being an example.
        example = (number, texts, {name: len(list) for name, list in ids.items()})
        if len(self.examples) < self.args.examples:
            self.examples.append(example)
        elif (at := self.random.randrange(self.n_kept)) < self.args.examples:
            self.examples[at] = example

    def refusals(self):
        lines = [f"{self.source.path}: {self.n_refused:,} of {self.n_read():,} records refused", *self.named]
        if self.n_refused > len(self.named):
            lines.append(f"  and {self.n_refused - len(self.named):,} more; by reason:")
            lines += [f"  {n:8,}  {reason}" for reason, n in self.reasons.most_common(10)]
        return "\n".join(lines)

    def n_read(self):
        return self.n_kept + self.n_refused + sum(n for n, _ in self.left_out.values())

    def check(self):
        if self.n_refused and self.args.on_bad_record == "fail":
            raise Problem(f"{self.refusals()}\ncorrect them, or leave them out with --on-bad-record skip; nothing was written")
        for part, n in zip(self.parts, self.counts):
            if n == 0:
                lines = [self.refusals()] if self.n_refused else []
                lines += self.left_out_lines()
                raise Problem("\n".join([f"{part.path} would have no record, of {self.n_read():,}; nothing was written", *lines]))

    def left_out_lines(self):
        return [f"left out: {n:,} {why}: {self.source.unit} " + ", ".join(map(str, first)) + (", ..." if n > len(first) else "")
                for why, (n, first) in self.left_out.items()]

    def finish(self):
        out = self.args.out
        if self.args.config:
            self.write_configuration(out.with_name((out.stem if out.suffix in (".h5", ".hdf5") else out.name) + ".cfg"))
        self.print_all()

    def print_all(self):
        print(f"{self.source.path}: {self.layout.described()}")
        if isinstance(self.source, Arrow):
            print(f"files that were read: {', '.join(file.name for file in self.source.files)}")
        print(self.about)
        for part, n in zip(self.parts, self.counts):
            print(f"{part.path}: {n:,} {self.args.kind} of {self.n_read():,} records")
        for line in self.left_out_lines():
            print(line)
        if self.n_refused:
            print(self.refusals())
        print(f"{'tokens':12}{'mean':>10}{'99 %':>10}{'longest':>10}")
        for name in KINDS[self.args.kind]:
            mean, most, longest = self.lengths[name].summary()
            print(f"{name:12}{mean:10,.1f}{most:10,}{longest:10,}")
        if self.n_apart:
            print(tokens.apart_line(self.n_apart))
        if self.args.kind == "prompts":
            self.print_answers()
        self.print_examples()
        self.print_configuration()

    def print_answers(self):
        if self.n_answers == 0:
            print("no record has an answer: rules have nothing to compare with, other rewards can be used")
            return
        print(f"answers: {self.n_answers:,}, of which {self.n_integers:,} are integers"
              + ("" if self.n_integers == self.n_answers else "; rule_reward's match = numeric never accepts the others"))
        if self.layout.n_separators:
            print(f"answers: in {self.layout.n_separators:,} the separators of thousands were taken out")

    def print_examples(self):
        for number, texts, n_tokens in sorted(self.examples, key=lambda example: example[0]):
            print(f"\n== {self.source.where(number)}")
            for name, text in texts.items():
                if text == "" or name == "fields":
                    continue
                n = f", {n_tokens[name]:,} tokens" if name in n_tokens else ""
                shown = text if len(text) <= SHOWN else f"{text[:SHOWN // 2]}\n[... {len(text) - SHOWN:,} characters ...]\n{text[-SHOWN // 2:]}"
                print(f"-- {name}{n}\n{shown}")

    def section(self, name, i, path):
        longest = self.longest[i]
        lines = [f"[dataset.{name}]", f"path = {quoted_if_needed(str(path))}", f"kind = {self.args.kind}"]
        if longest["prompt"] > DEFAULT_MAX_PROMPT:
            lines.append(f"max_prompt_tokens = {longest['prompt']}")
        if max(longest["all"], longest["prompt"]) > DEFAULT_MAX_TOKENS:
            lines.append(f"max_tokens = {max(longest['all'], longest['prompt'] + 1)}")
        return lines

    def configuration(self, path_of):
        """The lines; `path_of` says how the path of a file stands in them."""
        blocks = [self.section("train", 0, path_of(self.parts[0]))]
        for i, part in enumerate(self.parts[1:], 1):
            blocks.append([*self.section(part.name, i, path_of(part)), "use = evaluate"])  # what is held out is not trained on
        if len(self.parts) > 1:
            blocks.append(["[evaluate]", f"dataset = {self.parts[1].name}", *self.match()])
        if self.match():
            blocks.append(["# The reward by a rule of graphs/grpo.cfg and graphs/ppo.cfg; leave it out of other runs.", "[call.reward]", *self.match()])
        return "\n\n".join("\n".join(block) for block in blocks)

    def match(self):
        """The final answer alone is in the file where the models write solutions out."""
        is_final = self.args.kind == "prompts" and self.layout.style in ("gsm8k", "math")
        return ["match = math"] if is_final else []

    def print_configuration(self):
        print(f"\n== lines for the configuration\n{FORMAT_IS_INSIDE}")
        print(self.configuration(lambda part: part.path.resolve()))

    def write_configuration(self, path):
        lines = self.configuration(lambda part: part.path.name)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(f"{FORMAT_IS_INSIDE}\n{lines}\n", encoding="utf-8")
        partial.replace(path)
