"""The options of tools/prepare_data.py, and the way of a record from its source into pre-tokenized datasets."""
import argparse
import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import re
import sys

from .chat import ChatTemplate, warn_of_old_jinja
from .contamination import EvaluationPrompts, conversation_key, texts_key
from .problem import BadRecord, Problem, tokens
from .readers import Arrow, open_source
from .rendering import ChatTexts, PlainTexts
from .report import Report
from .styles import KINDS, PARTS, STYLES, Layout


def warn(text):
    print(f"prepare_data.py: {text.removeprefix('tokenize.py: ')}", file=sys.stderr)


class Progress(tokens.Progress):
    program = "prepare_data.py"


class Encoded:
    """What tokens.Output asks for the tokens of a text, where the text is tokens already."""

    @staticmethod
    def encode(entries):
        return entries

    encode_prompts = encode

    @staticmethod
    def encode_answers(prompts, entries):
        return entries


class SourceName:
    """A source as tokens.Output names it and sizes its chunks by."""

    def __init__(self, source):
        files = source.files if isinstance(source, Arrow) else [source.path]
        self.name, self.st_size = source.path.name, sum(file.stat().st_size for file in files)

    def stat(self):
        return self


class Part:
    """One of the files that are made: under another name until all are whole."""

    def __init__(self, name, path):
        self.name, self.path, self.partial = name, path, path.with_name(path.name + ".partial")
        self.output = None

    def open(self, args, vocabulary, h5py, numpy):
        self.output = tokens.Output(self.partial, args, vocabulary, h5py, numpy)
        self.output.vocabulary = Encoded

    def finish(self):
        self.output.close()
        with open(self.partial, "rb") as file:
            os.fsync(file.fileno())

    def discard(self):
        if self.output and self.output.file:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # such as a full disk, which is said already
                self.output.file.close()
        self.partial.unlink(missing_ok=True)


def parts_of(args):
    """The files: shares of the records by name, and OUT with the rest."""
    shares, total = [], 0.0
    for text in args.split:
        name, _, share = text.partition("=")
        try:
            share = float(share)
        except ValueError:
            share = 0
        taken = ["train", *(other for other, _ in shares)]  # train: what stays in OUT
        if re.fullmatch("[A-Za-z0-9_]+", name) is None or not 0 < share < 1 or name in taken:
            raise Problem(f"--split {text}: expected NAME=SHARE, such as eval=0.05, each name once and none train")
        shares.append((name, share))
        total += share
    if total >= 1:
        raise Problem(f"--split: the shares add up to {total:g}, and nothing is left for {args.out}")
    parts = [Part(None, args.out)]
    parts += [Part(name, args.out.with_name(f"{args.out.stem}.{name}{args.out.suffix}")) for name, _ in shares]
    return parts, shares


def share_number(key, seed, shares):
    """Which part a prompt belongs to: by its hash, so that the same prompt is always in the same one."""
    at = int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest(), "big") / 2 ** 64
    for i, (_, share) in enumerate(shares):
        if at < share:
            return i + 1
        at -= share
    return 0


class Ids:
    """Ids that were used, and where."""

    def __init__(self):
        self.seen = {}

    def check(self, row, layout):
        name = layout.names["id"]
        id = row.values.get(name) if name else None
        if id is None or id == "":
            return
        if isinstance(id, bool) or not isinstance(id, (str, int)):
            raise BadRecord(f'column "{name}" must be a text or an integer')
        key = int.from_bytes(hashlib.blake2b(str(id).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        first = self.seen.setdefault(key, row.number)
        if first != row.number:
            raise BadRecord(f'id "{id}" was already used in {layout.source.unit} {first}')


def json_option(text, option):
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise Problem(f"{option} {text}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def tools_file(path):
    if path is None:
        return None
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problem(f"{path}: {error}")
    if not isinstance(tools, list) or not tools or not all(isinstance(tool, dict) for tool in tools):
        raise Problem(f"{path}: expected a list of tools, each a JSON schema")
    return tools


def texts_maker(args):
    """(what turns records into texts, what is said about it)"""
    now = None
    if args.date:
        try:
            now = datetime.datetime.fromisoformat(args.date)
        except ValueError:
            raise Problem(f"--date {args.date}: expected a date such as 2026-01-31")
    template = None
    if not args.no_template:
        options = dict(json_option(text, "--template-option") for text in args.template_option)
        folder = args.model if args.model.is_dir() else args.model.parent
        template = ChatTemplate.of(folder, args.template, args.template_name, options, now)
    tools = tools_file(args.tools)
    if template is None:
        for value, option in ((args.system, "--system"), (tools, "--tools")):
            if value:
                raise Problem(f"{option} needs a chat template, and there is none in {args.model} (--template FILE)")
        return PlainTexts(), "no chat template: prompts are their text alone"
    warn_of_old_jinja(warn)
    return ChatTexts(template, tools, args.plain_answers), f"chat template of {template.where}"


def settle_end(maker, vocabulary, args):
    """The token that the template puts behind an answer is the one that answers end with."""
    behind = maker.behind_answers() if isinstance(maker, ChatTexts) else None
    ids = vocabulary.encode([behind.strip()])[0] if behind and behind.strip() else []
    if not ids or not (vocabulary.special[ids[0]] or ids[0] in vocabulary.eos):
        if isinstance(maker, ChatTexts):
            warn("the chat template puts no token of its own behind an answer: answers end with "
                 f"{vocabulary.tokenizer.id_to_token(vocabulary.eos[0])!r}")
        return
    end, before = ids[0], list(vocabulary.eos)
    maker.end, maker.behind = vocabulary.tokenizer.id_to_token(end), behind.lstrip()
    if end == before[0]:
        return
    if args.eos:
        warn(f"the chat template ends answers with {maker.end!r}, but --eos says {vocabulary.tokenizer.id_to_token(before[0])!r}")
        return
    vocabulary.eos = [end, *(id for id in before if id != end)]
    warn(f"answers end with {maker.end!r}, as the chat template has it, before {vocabulary.tokenizer.id_to_token(before[0])!r}, which "
         "the model's files name: use pre-tokenized datasets for all data sets of the run")


class Preparation:
    """One run of the program. `encode` gives tokens of texts; `parts` take them."""

    def __init__(self, args, source, maker, vocabulary, parts, shares, evaluation, report):
        self.args, self.source, self.maker, self.vocabulary = args, source, maker, vocabulary
        self.parts, self.shares, self.evaluation, self.report = parts, shares, evaluation, report
        self.layout = Layout(source, args)
        args.kind = self.layout.kind
        self.ids, self.records = Ids(), set()

    def encode_prompts(self, texts):
        # What apply_chat_template gives is whole; a plain text gets the special tokens that the tokenizer has for it.
        if isinstance(self.maker, PlainTexts) and hasattr(self.vocabulary, "encode_prompts"):
            return self.vocabulary.encode_prompts(texts)
        return self.vocabulary.encode(texts)

    def texts(self, row):
        """(texts, hash of the prompt) of a record that is to be kept, else None."""
        if row.values is None:
            raise BadRecord(row.problem)
        item = self.layout.item(row)
        self.ids.check(row, self.layout)
        key = conversation_key(item.messages)
        if key in self.evaluation.texts:
            self.report.leave_out("found in " + self.evaluation.names, row.number)
            return None
        texts = self.maker.texts(item)
        if self.args.kind == "prompts":
            texts["answer"] = item.answer
        if self.args.dedup:
            if (whole := texts_key(texts)) in self.records:
                self.report.leave_out("the same as a record before", row.number)
                return None
            self.records.add(whole)
        if self.args.kind == "prompts":
            texts["fields"] = item.fields
        for text in texts.values():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise BadRecord("half of a surrogate pair, which is no text")
        return texts, share_number(key, self.args.seed, self.shares)

    def run(self, progress):
        block, size = [], 0
        for row in self.source:
            try:
                if (found := self.texts(row)) is not None:
                    block.append((row.number, *found))
                    size += sum(map(len, found[0].values()))
            except (BadRecord, ValueError, RecursionError) as error:
                self.report.refuse(row.number, str(error) or "nested too deeply")
            if size >= tokens.BLOCK_BYTES:
                self.write(block)
                progress.show(row.at, self.report.n_kept)
                block, size = [], 0
        self.write(block)

    def write(self, block):
        """Tokenises a block of (number, texts, part) and appends it to the parts."""
        if not block:
            return
        if self.report.n_kept == 0:
            tokens.check_table(self.vocabulary, [texts["prompt"] for _, texts, _ in block[:100]], warn)
        wanted = KINDS[self.args.kind]
        columns = {name: [texts[name] for _, texts, _ in block] for name in wanted}
        encoded = {name: self.encode_prompts(column) if name == "prompt" else self.vocabulary.encode_answers(columns["prompt"], column)
                   for name, column in columns.items()}
        by_part = [[] for _ in self.parts]
        for i, (number, texts, part) in enumerate(block):
            ids = {name: list(encoded[name][i]) for name in wanted}
            problem = self.problem_of(ids)
            if problem:
                self.report.refuse(number, problem)
            elif self.evaluation.has_tokens(ids["prompt"]):
                self.report.leave_out("found in " + self.evaluation.names, number)
            else:
                self.report.keep(number, part, texts, ids)
                by_part[part].append((number, {**texts, **ids}))
        for part, records in zip(self.parts, by_part):
            if records:
                part.output.append(records)

    def problem_of(self, ids):
        empty = next((name for name, list in ids.items() if not list), None)
        if empty:
            return f"the {empty} has no tokens"
        n_prompt = len(ids["prompt"])
        if self.args.max_prompt_tokens and n_prompt > self.args.max_prompt_tokens:
            return f"the prompt has {n_prompt} tokens, more than --max-prompt-tokens {self.args.max_prompt_tokens}"
        n = max((n_prompt + len(list) + 1 for name, list in ids.items() if name != "prompt"), default=0)
        if self.args.max_tokens and n > self.args.max_tokens:
            return f"prompt, answer and end token are {n} tokens, more than --max-tokens {self.args.max_tokens}"
        return None


def prepare(args, stack):
    """One file and its parts, whole but under other names; `stack` removes what nobody gives its name to. Returns
    what does that, and the report."""
    if not args.out.parent.is_dir():
        raise Problem(f"{args.out.parent}: there is no such folder")
    if args.out.is_dir() or (args.out.exists() and args.data.exists() and args.out.samefile(args.data)):
        raise Problem(f"{args.out}: " + ("is a directory" if args.out.is_dir() else "is the data itself"))
    if any(c in str(args.out.resolve()) for c in "\n\r"):
        raise Problem(f"{str(args.out)!r}: a configuration cannot name a path with a line end")
    source = open_source(args.data, args.part)
    parts, shares = parts_of(args)
    maker, about = texts_maker(args)
    h5py, numpy, tokenizers = tokens.libraries()
    # A rendered prompt is whole: transformers tokenises it without adding special tokens.
    args.add_bos, args.tokenizer = "auto" if isinstance(maker, PlainTexts) else "false", args.model
    vocabulary = tokens.Vocabulary(args.model, args, tokenizers)
    settle_end(maker, vocabulary, args)
    evaluation = EvaluationPrompts(args.against, args, vocabulary)
    report = Report(args, source, parts, about)
    preparation = Preparation(args, source, maker, vocabulary, parts, shares, evaluation, report)
    report.layout = preparation.layout
    named = argparse.Namespace(kind=args.kind, data=SourceName(source), tokenizer=args.model)
    progress = Progress(source.size, args.quiet)
    for part in parts:
        stack.callback(part.discard)
        part.open(named, vocabulary, h5py, numpy)
    preparation.run(progress)
    report.n_apart = vocabulary.n_apart
    report.check()
    for part in parts:
        part.finish()
    progress.show(progress.size, report.n_kept, end="\n")
    return parts, report


def convert(every):
    """Makes the files of all kinds, or none."""
    with contextlib.ExitStack() as stack:
        made = [prepare(args, stack) for args in every]
        for part in (part for parts, _ in made for part in parts):
            part.partial.replace(part.path)
    for _, report in made:
        report.finish()


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = pathlib.Path
    parser.add_argument("data", type=path, metavar="IN", help="records: .jsonl, .json, .parquet, .csv, .tsv or a directory")
    parser.add_argument("out", type=path, metavar="OUT", help="pre-tokenized dataset that is made, such as train.h5")
    parser.add_argument("--model", type=path, required=True, metavar="DIR", help="the model's directory: tokenizer.json, chat template, special tokens")
    parser.add_argument("--style", choices=STYLES, default="auto", help="what the records are like (default: by their columns)")
    parser.add_argument("--kind", type=kinds_of, default=["auto"], metavar="KIND[,KIND]",
                        help=f"kind of data set that is made: {', '.join(KINDS)} (default: by the style); of several, one after "
                             "the other, each with its name in OUT's")
    for part in PARTS:
        parser.add_argument(f"--{part}-field", metavar="NAME", help=f"column of the {part}")
    parser.add_argument("--part", metavar="NAME", help="of a directory that has several, such as train")
    parser.add_argument("--as-text", action="store_true", help="texts are texts, also those that look like a list of messages")
    parser.add_argument("--system", metavar="TEXT", help="system message of records that have none")
    parser.add_argument("--tools", type=path, metavar="FILE", help="JSON list of tools for records that have none")
    parser.add_argument("--template", type=path, metavar="FILE", help="another chat template (Jinja)")
    parser.add_argument("--template-name", metavar="NAME", help="of a model that has several")
    parser.add_argument("--template-option", action="append", default=[], metavar="NAME=VALUE",
                        help="variable of the template, such as enable_thinking=false; again for more")
    parser.add_argument("--no-template", action="store_true", help="prompts are their text alone")
    parser.add_argument("--date", metavar="DATE", help="the date that the template sees (default: now)")
    parser.add_argument("--plain-answers", action="store_true", help="answers as they are, not as the template renders them")
    parser.add_argument("--split", action="append", default=[], metavar="NAME=SHARE",
                        help="put this share of the prompts into OUT.NAME instead; again for more")
    parser.add_argument("--seed", type=int, default=0, help="of the splits (default: 0)")
    parser.add_argument("--against", type=path, action="append", default=[], metavar="EVAL",
                        help="leave out records whose prompt is in EVAL: data in any form, or a pre-tokenized dataset; again for more")
    parser.add_argument("--dedup", action="store_true", help="leave out records that are the same as one before")
    parser.add_argument("--max-prompt-tokens", type=int, metavar="N", help="refuse longer prompts")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="refuse longer prompts with answer and end token")
    parser.add_argument("--on-bad-record", choices=["fail", "skip"], default="fail",
                        help="what to do with a record that cannot be used (default: %(default)s)")
    parser.add_argument("--eos", action="append", default=[], metavar="TOKEN", help="end token, by name or id; again for more")
    parser.add_argument("--bos", metavar="TOKEN", help="beginning token")
    parser.add_argument("--pad", metavar="TOKEN", help="padding token")
    parser.add_argument("--examples", type=int, default=5, metavar="N", help="rendered records that are shown (default: 5)")
    parser.add_argument("--config", action="store_true", help="also write the lines for the configuration, as OUT with .cfg at its end")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def kinds_of(text):
    kinds = text.split(",")
    for kind in kinds:
        if kind not in ("auto", *KINDS):
            raise argparse.ArgumentTypeError(f"{kind!r} is none of auto, {', '.join(KINDS)}")
    if len(set(kinds)) < len(kinds) or (len(kinds) > 1 and "auto" in kinds):
        raise argparse.ArgumentTypeError("of several kinds each is named, once")
    return kinds


def of_each_kind(args):
    """The arguments of each file that is asked for: data.h5 of two kinds is data.completions.h5 and data.prompts.h5."""
    if len(args.kind) == 1:
        return [argparse.Namespace(**{**vars(args), "kind": args.kind[0]})]
    return [argparse.Namespace(**{**vars(args), "kind": kind, "out": args.out.with_name(f"{args.out.stem}.{kind}{args.out.suffix}")})
            for kind in args.kind]


def main(description, arguments=None):
    args = parser_of(description).parse_args(arguments)
    try:
        convert(of_each_kind(args))
    except (Problem, OSError) as problem:
        warn(str(problem))
        return 2
    except KeyboardInterrupt:
        warn("interrupted; nothing was written")
        return 130
    return 0
