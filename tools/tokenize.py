#!/usr/bin/env python3
"""Turns a file of JSON lines into a pre-tokenized dataset, with any tokenizer.json.

    tools/tokenize.py --tokenizer DIR DATA.jsonl DATA.h5 [--kind completions] [...]

For models whose tokenizer Orrery does not read itself (Unigram, WordPiece, ...), and
for data that is read over and over: `dataset.NAME.path = DATA.h5` then needs no tokenizing any
more. The file carries the tokens of all records, the bytes of every token id and the ids of the
special tokens, so a run needs nothing else (docs/data.md describes the format). The result appears under its
name when it is whole.

--help lists the options. They have the names of the [dataset.X] keys that they stand for.
cost: what the tokenizer needs, on all cores; memory: a block of records, and about 100 bytes for
each record that has an id
needs: pip install tokenizers h5py
exit status: 0 done, 2 wrong usage or data
"""
import sys

if __name__ == "tokenize":
    # A program in this folder wants the module of this name in Python's own library (traceback,
    # linecache and inspect do), and finds this file first: hand it that one.
    import importlib.machinery
    import importlib.util
    import sysconfig

    spec = importlib.machinery.PathFinder.find_spec("tokenize", [sysconfig.get_path("stdlib")])
    sys.modules["tokenize"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["tokenize"])

import argparse
import functools
import itertools
import json
import os
import pathlib
import time

FORMAT, VERSION = "orrery-tokens", 1
MAX_LINE = 64 << 20
NAMED = 20           # bad records that are named in full
BLOCK_BYTES = 1 << 20  # of text that is tokenised at a time
MAX_CHUNK = 1 << 18  # elements of a chunk in the file


class Problem(Exception):
    """Something that the user can put right."""


def libraries():
    try:
        import h5py
        import numpy
        import tokenizers
    except ImportError as error:
        raise Problem(f"the Python package {error.name} is missing: pip install tokenizers h5py")
    return h5py, numpy, tokenizers


# The bytes that a text of byte-level tokens stands for: GPT-2's alphabet.
def byte_alphabet():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet, spare = {chr(b): b for b in kept}, 256
    for byte in range(256):
        if byte not in kept:
            alphabet[chr(spare)] = byte
            spare += 1
    return alphabet


def decoder_steps(decoder):
    """The decoder of tokenizer.json as a list of its single steps."""
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for one in decoder["decoders"] for step in decoder_steps(one)]
    return [decoder]


def token_bytes(token, steps, alphabet):
    """The bytes that a token adds to a text. What a decoder does only at a text's ends (Strip, a
    prepended space) is left out: the table knows no ends."""
    text = token
    for step in steps:
        kind = step["type"]
        if kind == "ByteLevel":
            if text and all(c in alphabet for c in text):
                return bytes(alphabet[c] for c in text)
        elif kind == "ByteFallback":
            if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
                try:
                    return bytes([int(text[3:5], 16)])
                except ValueError:
                    pass
        elif kind == "Metaspace":
            text = text.replace(step.get("replacement", "\u2581"), " ")
        elif kind == "Replace":
            pattern = step["pattern"]
            if "String" not in pattern:
                raise Problem(f"the tokenizer's decoder replaces by a regular expression: {pattern}")
            text = text.replace(pattern["String"], step["content"])
        elif kind == "WordPiece":
            prefix = step.get("prefix", "##")
            text = text[len(prefix):] if text.startswith(prefix) else " " + text
        elif kind == "BPEDecoder":
            text = text.replace(step.get("suffix", "</w>"), " ")
        elif kind not in ("Fuse", "Strip"):
            raise Problem(f"the tokenizer's decoder {kind} is not known here")
    if not steps:
        text = " " + text  # such tokenizers' words are joined by spaces
    return text.encode()


class SpecialTokens:
    """Ids of the special tokens: from the command line, else from the files beside tokenizer.json, in the
    order that Orrery itself has."""

    def __init__(self, folder, tokenizer, args):
        self.tokenizer = tokenizer
        self.files = {}
        for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"):
            path = folder / name
            if path.exists():
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                except ValueError as error:
                    raise Problem(f"{path}: {error}")
                self.files[name] = content if isinstance(content, dict) else {}
        eos = [self.named(text, "--eos") for text in args.eos]
        if not eos:
            first = self.found("eos")
            for content in self.files.values():
                if eos := self.ids(content, "eos"):
                    break
            eos = ([] if first is None else [first]) + [id for id in eos if id != first]
        if not eos:
            raise Problem(f"the tokenizer of {folder} has no end token: name one with --eos")
        self.eos = eos
        self.bos = self.named(args.bos, "--bos") if args.bos else self.found("bos")
        self.pad = self.named(args.pad, "--pad") if args.pad else self.found("pad")
        self.bos = eos[0] if self.bos is None else self.bos
        self.pad = eos[0] if self.pad is None else self.pad

    def named(self, text, option):
        id = self.tokenizer.token_to_id(text)
        if id is None and text.isdigit() and self.tokenizer.id_to_token(int(text)) is not None:
            id = int(text)
        if id is None:
            raise Problem(f"{option} {text}: the tokenizer has no such token")
        return id

    def ids(self, content, special_token):
        found = content.get(f"{special_token}_token_id")
        found = found if isinstance(found, list) else [found]
        return [id for id in found if isinstance(id, int) and id >= 0 and self.tokenizer.id_to_token(id) is not None]

    def found(self, special_token):
        for content in self.files.values():
            token = content.get(f"{special_token}_token")
            if isinstance(token, dict):
                token = token.get("content")
            if isinstance(token, str) and self.tokenizer.token_to_id(token) is not None:
                return self.tokenizer.token_to_id(token)
            if ids := self.ids(content, special_token):
                return ids[0]
        return None


def tokens_behind(encoding, end):
    """Ids of the tokens from that character on; None where one reaches over it."""
    at = encoding.char_to_token(end)
    if at is None:  # a blank that no token stands for
        at = next((i for i, (_, stop) in enumerate(encoding.offsets) if stop > end), len(encoding.ids))
    return encoding.ids[at:] if at < len(encoding.ids) and encoding.token_to_chars(at)[0] >= end else None


class Vocabulary:
    def __init__(self, path, args, tokenizers):
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.exists():
            raise Problem(f"{path}: there is no tokenizer.json")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(file))
            described = json.loads(self.tokenizer.to_str())
        except Exception as error:  # the library throws plain Exception
            raise Problem(f"{file}: {error}")
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        steps, alphabet = decoder_steps(described.get("decoder")), byte_alphabet()
        ids = self.tokenizer.get_vocab(with_added_tokens=True)
        size = max(ids.values()) + 1
        special = {token["id"] for token in described.get("added_tokens", []) if token.get("special")}
        added = {token["id"]: token["content"] for token in described.get("added_tokens", [])}
        by_level = any(step["type"] == "ByteLevel" for step in steps)
        self.bytes, self.special = [b""] * size, [0] * size
        for token, id in ids.items():
            # An added token stands for its text, whatever words of the vocabulary stand for.
            as_is = id in added and not by_level
            self.bytes[id] = token.encode() if as_is else token_bytes(token, steps, alphabet)
            self.special[id] = int(id in special)
        special_tokens = SpecialTokens(file.parent, self.tokenizer, args)
        self.bos, self.eos, self.pad = special_tokens.bos, special_tokens.eos, special_tokens.pad
        self.beginning = self.beginning_tokens(file.parent, args)
        self.n_apart = 0  # answers that would share a token with their prompt

    def beginning_tokens(self, folder, args):
        """What prompts begin with besides their text: as the tokenizer's own template, or as --add-bos says."""
        if args.add_bos == "false":
            return []
        text, alone = "a", self.encode(["a"])[0]
        marked = self.tokenizer.encode(text, add_special_tokens=True).ids
        begin = next((i for i in range(len(marked)) if alone and marked[i:i + len(alone)] == alone), 0)
        special_tokens = marked[:begin]
        try:
            adds = json.loads((folder / "tokenizer_config.json").read_text()).get("add_bos_token")
        except (OSError, ValueError, AttributeError):
            adds = None
        if isinstance(adds, bool):
            special_tokens = [self.bos] * adds + [special_token for special_token in special_tokens if special_token != self.bos]
        return special_tokens or [self.bos] * (args.add_bos == "true")

    def encode(self, texts):
        # The fast one leaves out where in the text each token was; older versions lack it.
        encode = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)
        return [encoding.ids for encoding in encode(texts, add_special_tokens=False)]

    def encode_prompts(self, texts):
        special_tokens = self.beginning
        return [ids if ids[:len(special_tokens)] == special_tokens else special_tokens + ids for ids in self.encode(texts)]

    def encode_answers(self, prompts, answers):
        """Tokens of answers as they stand behind their prompts: alone, a text may begin with a mark of its own (\u2581)."""
        whole = self.untrimmed.encode_batch([prompt + answer for prompt, answer in zip(prompts, answers)], add_special_tokens=False)
        return [tokens_behind(encoding, len(prompt)) or self.encode_apart(answer) for encoding, prompt, answer in zip(whole, prompts, answers)]

    def encode_apart(self, answer):
        """Of an answer whose beginning shares a token with the prompt's end. The prompt keeps the tokens that
        generation sees, so the answer's are those behind a text that it does not grow together with."""
        self.n_apart += 1
        for before in ("\n", "a", ".", "1"):
            if ids := tokens_behind(self.untrimmed.encode(before + answer, add_special_tokens=False), len(before)):
                return ids
        return self.encode([answer])[0]

    @functools.cached_property
    def untrimmed(self):
        """The tokenizer whose offsets count a token's space as its own: post-processors may leave it out."""
        described = json.loads(self.tokenizer.to_str())
        return type(self.tokenizer).from_str(json.dumps({**described, "post_processor": None}))

    def decode(self, ids):
        return b"".join(self.bytes[id] for id in ids if not self.special[id]).decode(errors="replace")


def unescaped(text):
    """\\n, \\r, \\t and \\\\ as in configuration files."""
    result, at = "", 0
    names = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
    while at < len(text):
        if text[at] == "\\":
            if at + 1 == len(text) or text[at + 1] not in names:
                raise Problem(f"{text!r}: there are the escapes \\n, \\r, \\t and \\\\")
            result, at = result + names[text[at + 1]], at + 2
        else:
            result, at = result + text[at], at + 1
    return result


class Number(str):
    """A number as it is written."""


class Columns(dict):
    """An object's fields, of which none may come twice."""

    @staticmethod
    def of(pairs):
        result = Columns(pairs)
        result.twice = None
        if len(result) != len(pairs):
            seen = set()
            for name, _ in pairs:
                if name in seen:
                    result.twice = name
                    break
                seen.add(name)
        return result


def no_number(name):
    raise ValueError(f"{name} is no JSON")


SPACES = " \t\r\n"
DECODER = json.JSONDecoder()


def raw_fields(line):
    """(name, text of the value) of the outermost fields of a line that is a JSON object."""
    at = line.index("{") + 1
    while True:
        while line[at] in SPACES + ",":
            at += 1
        if line[at] == "}":
            return
        name, at = DECODER.raw_decode(line, at)
        at = line.index(":", at) + 1
        while line[at] in SPACES:
            at += 1
        begin = at
        _, at = DECODER.raw_decode(line, at)
        yield name, line[begin:at]


def compact(text):
    """JSON text without the spaces between its parts."""
    if not any(space in text for space in SPACES):
        return text
    result, in_text, at = [], False, 0
    while at < len(text):
        c = text[at]
        if in_text and c == "\\":
            result.append(text[at:at + 2])
            at += 2
            continue
        if c == '"':
            in_text = not in_text
        if in_text or c not in SPACES:
            result.append(c)
        at += 1
    return "".join(result)


def lines_of(path):
    """(line number, end of the line in the file, its bytes, problem): either bytes or a problem. Blank
    lines at the end of the file are none."""
    blank = []
    with open(path, "rb") as file:
        number = at = 0
        while raw := file.readline(MAX_LINE + 2):
            number, at = number + 1, at + len(raw)
            if len(raw) > MAX_LINE and not raw.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    at += len(rest)
                at += len(rest)
                yield number, at, None, f"longer than {MAX_LINE} bytes"
                continue
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            raw = raw.rstrip(b"\n").removesuffix(b"\r")
            if not raw.strip():
                blank.append(number)
                continue
            for line in blank:
                yield line, at, None, "an empty line"
            blank.clear()
            yield number, at, raw, None


class Records:
    """The usable records of the data file; what is wrong with the others."""

    def __init__(self, args):
        self.args = args
        self.rejected, self.named, self.ids = 0, [], set()
        self.wanted = {"prompts": ["prompt"], "completions": ["prompt", "completion"],
                       "preferences": ["prompt", "chosen", "rejected"]}[args.kind]
        self.names = {part: getattr(args, part + "_field") for part in
                      ("prompt", "answer", "completion", "chosen", "rejected", "system", "id")}

    def reject(self, number, problem):
        self.rejected += 1
        if len(self.named) < NAMED:
            self.named.append(f"  {self.args.data}:{number}: {problem}")

    def text_of(self, record, part):
        """The text of a field; empty where it is absent."""
        value = record.get(self.names[part]) if self.names[part] else None
        if value is None:
            return ""
        takes_numbers = part in ("answer", "completion", "chosen", "rejected")
        if not isinstance(value, str) or (isinstance(value, Number) and not takes_numbers):
            raise ValueError(f'field "{self.names[part]}" must be a text')
        return str(value)

    def parse(self, raw):
        """Texts by part, or ValueError."""
        if b"\0" in raw:
            raise ValueError("a NUL byte")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: byte {raw[error.start]} at column {error.start + 1}")
        try:
            record = json.loads(line, object_pairs_hook=Columns.of, parse_constant=no_number,
                                parse_int=Number, parse_float=Number)
        except RecursionError:
            raise ValueError("nested too deeply")
        if not isinstance(record, Columns):
            raise ValueError("expected an object { ... }")
        used = set(self.wanted) | {"system", "id"} | ({"answer"} if self.args.kind == "prompts" else set())
        if record.twice in {self.names[part] for part in used}:
            raise ValueError(f'field "{record.twice}" comes twice')
        texts = {part: self.text_of(record, part) for part in used - {"id"}}
        for part in self.wanted:
            name = self.names[part]
            if not texts[part]:
                raise ValueError(f'field "{name}" is ' + ("empty" if record.get(name) == "" else "missing"))
            texts[part].encode()  # a lone surrogate is no text
        if self.args.kind == "preferences" and texts["chosen"] == texts["rejected"]:
            raise ValueError(f'fields "{self.names["chosen"]}" and "{self.names["rejected"]}" are equal')
        id = record.get(self.names["id"]) if self.names["id"] else None
        if id is not None:
            is_whole = not isinstance(id, Number) or id.lstrip("-").isdigit()
            if not isinstance(id, str) or not is_whole:
                raise ValueError(f'field "{self.names["id"]}" must be a text')
            if (key := hash(str(id))) in self.ids:
                raise ValueError(f'id "{id}" was already used')
            self.ids.add(key)
        system = texts.pop("system", "")
        before = self.args.system_prefix + system + self.args.system_suffix if system else ""
        texts["prompt"] = before + self.args.prompt_prefix + texts["prompt"] + self.args.prompt_suffix
        if self.args.kind == "prompts":
            left_out = {self.names["system"], self.names["prompt"], self.names["answer"]}
            others = [f"{json.dumps(name, ensure_ascii=False)}:{compact(value)}"
                      for name, value in raw_fields(line) if name not in left_out]
            texts["fields"] = "{" + ",".join(others) + "}" if others else ""
        return texts

    def __iter__(self):
        """(line number, end of the line in the file, texts)"""
        for number, at, raw, problem in lines_of(self.args.data):
            if problem:
                self.reject(number, problem)
                continue
            try:
                texts = self.parse(raw)
            except ValueError as error:
                self.reject(number, str(error))
                continue
            yield number, at, texts

    def report(self, used):
        lines = [f"{self.args.data}: {self.rejected} of {self.rejected + used} records rejected", *self.named]
        if self.rejected > len(self.named):
            lines.append(f"  and {self.rejected - len(self.named)} more")
        return "\n".join(lines)


class Column:
    """Entries of any length in the file: values one behind another, and where each begins."""

    def __init__(self, file, name, dtype, chunk, numpy):
        self.numpy, self.dtype, self.end = numpy, dtype, 0
        group = file.create_group(name)
        self.values = group.create_dataset("values", (0,), dtype, maxshape=(None,), chunks=(chunk,))
        self.offsets = group.create_dataset("offsets", (1,), "<i8", maxshape=(None,), chunks=(chunk,))

    def append(self, entries):
        sizes = self.numpy.fromiter((len(entry) for entry in entries), "<i8", len(entries))
        ends = self.end + self.numpy.cumsum(sizes)
        n = self.offsets.shape[0]
        self.offsets.resize((n + len(entries),))
        self.offsets[n:] = ends
        if len(entries) and ends[-1] > self.end:
            if self.dtype == "u1":
                flat = self.numpy.frombuffer(b"".join(entries), "u1")
            else:
                flat = self.numpy.fromiter(itertools.chain.from_iterable(entries), self.dtype, int(ends[-1]) - self.end)
            self.values.resize((int(ends[-1]),))
            self.values[self.end:] = flat
            self.end = int(ends[-1])


class Output:
    def __init__(self, path, args, vocabulary, h5py, numpy):
        # Its metadata has checksums, and HDF5 1.10 reads it (decision 0613).
        self.file = h5py.File(path, "w", libver=("v110", "v110"))
        self.vocabulary, self.n = vocabulary, 0
        parts = {"prompts": ["prompt"], "completions": ["prompt", "completion"],
                 "preferences": ["prompt", "chosen", "rejected"]}[args.kind]
        # Small files get small chunks: a chunk takes its whole room.
        chunk = min(MAX_CHUNK, 64 << max(0, (args.data.stat().st_size >> 10).bit_length()))
        self.tokens = {part: Column(self.file, part, "<i4", chunk, numpy) for part in parts}
        self.texts = {}
        if args.kind == "prompts":
            self.texts = {part: Column(self.file, part, "u1", chunk, numpy) for part in ("answer", "fields")}
        self.lines = self.file.create_dataset("line", (0,), "<i8", maxshape=(None,), chunks=(chunk,))
        table = Column(self.file, "vocabulary", "u1", 4096, numpy)
        table.append(vocabulary.bytes)
        group = self.file["vocabulary"]
        group.create_dataset("special", data=numpy.array(vocabulary.special, "u1"))
        group.attrs["bos_id"] = numpy.int64(vocabulary.bos)
        group.attrs["eos_ids"] = numpy.array(vocabulary.eos, "<i8")
        group.attrs["pad_id"] = numpy.int64(vocabulary.pad)
        attributes = self.file.attrs
        attributes["format"], attributes["version"] = numpy.bytes_(FORMAT), numpy.int64(VERSION)
        attributes["kind"] = numpy.bytes_(args.kind)
        attributes["source"] = numpy.bytes_(args.data.name.encode())
        attributes["tokenizer"] = numpy.bytes_(str(args.tokenizer).encode())
        self.numpy = numpy

    def append(self, block):
        """block: (line number, texts) of records."""
        for part, column in self.tokens.items():
            entries = [texts[part] for _, texts in block]
            column.append(self.vocabulary.encode_prompts(entries) if part == "prompt" else
                          self.vocabulary.encode_answers([texts["prompt"] for _, texts in block], entries))
        for part, column in self.texts.items():
            column.append([texts[part].encode() for _, texts in block])
        self.lines.resize((self.n + len(block),))
        self.lines[self.n:] = [number for number, _ in block]
        self.n += len(block)

    def close(self):
        for part, column in self.texts.items():
            if column.end == 0:
                del self.file[part]  # no record has any
        self.file.attrs["n_records"] = self.numpy.int64(self.n)
        self.file.close()


class Progress:
    program = "tokenize.py"

    def __init__(self, size, quiet):
        self.size, self.quiet, self.began, self.last = max(size, 1), quiet, time.monotonic(), 0.0

    def show(self, at, n, end=""):
        now = time.monotonic()
        if self.quiet or (not end and now - self.last < 1):
            return
        self.last = now
        rate = n / max(now - self.began, 1e-9)
        lead = "\r" if sys.stderr.isatty() else ""
        print(f"{lead}{self.program}: {100 * at // self.size:3d} %, {n:,} records, {rate:,.0f} a second",
              end=end if lead and not end else "\n", file=sys.stderr, flush=True)


def check_table(vocabulary, texts, warn):
    """The table must give what the library gives: a rule compares such texts with answers."""
    wrong = None
    for text in texts:
        ids = vocabulary.encode([text])[0]
        own = vocabulary.decode(ids)
        library = vocabulary.tokenizer.decode(ids, skip_special_tokens=True)
        if own.split() != library.split():
            wrong = wrong or (own, library)
    if wrong:
        warn(f"tokenize.py: the bytes of single tokens do not give the library's text, such as {wrong[0]!r} for {wrong[1]!r}; "
             "rewards see the former")


def apart_line(n):
    return f"{n:,} answers would share a token with the end of their prompt: prompt and answer were tokenised apart there"


def convert(args):
    h5py, numpy, tokenizers = libraries()
    if not args.data.is_file():
        raise Problem(f"{args.data}: " + ("is no file" if args.data.exists() else "there is no such file"))
    if not args.out.parent.is_dir():
        raise Problem(f"{args.out.parent}: there is no such folder")
    for name in ("system_prefix", "system_suffix", "prompt_prefix", "prompt_suffix"):
        setattr(args, name, unescaped(getattr(args, name)))
    vocabulary = Vocabulary(args.tokenizer, args, tokenizers)
    partial = args.out.with_name(args.out.name + ".partial")
    records, progress = Records(args), Progress(args.data.stat().st_size, args.quiet)
    output = Output(partial, args, vocabulary, h5py, numpy)
    try:
        block, size = [], 0
        for number, at, texts in records:
            block.append((number, texts))
            size += sum(map(len, texts.values()))
            if size >= BLOCK_BYTES:
                output.append(block)
                progress.show(at, output.n)
                block, size = [], 0
        if block:
            check_table(vocabulary, [texts["prompt"] for _, texts in block[:100]], lambda text: print(text, file=sys.stderr))
            output.append(block)
        if output.n == 0:
            raise Problem(f"{args.data} has no usable record\n{records.report(0) if records.rejected else ''}".rstrip())
        if records.rejected and args.on_bad_record == "fail":
            raise Problem(f"{records.report(output.n)}\ncorrect the file, or leave them out with --on-bad-record skip")
        output.close()
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(args.out)
    finally:
        if output.file:
            output.file.close()
        partial.unlink(missing_ok=True)
    if records.rejected:
        print(records.report(output.n), file=sys.stderr)
    if vocabulary.n_apart:
        print(apart_line(vocabulary.n_apart), file=sys.stderr)
    tokens = sum(column.end for column in output.tokens.values())
    progress.show(progress.size, output.n, end="\n")
    print(f"{args.out}: {output.n:,} {args.kind}, {tokens:,} tokens, vocabulary of {len(vocabulary.bytes):,}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, metavar="DATA.jsonl", help="records, one JSON object a line")
    parser.add_argument("out", type=pathlib.Path, metavar="DATA.h5", help="pre-tokenized dataset that is made")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, metavar="DIR",
                        help="directory with a tokenizer.json, or that file")
    parser.add_argument("--kind", choices=["prompts", "completions", "preferences"], default="prompts",
                        help="what the records are (default: %(default)s)")
    for part, name in (("prompt", "prompt"), ("answer", "answer"), ("completion", "completion"), ("chosen", "chosen"),
                       ("rejected", "rejected"), ("id", "id"), ("system", "system")):
        parser.add_argument(f"--{part}-field", default=name, metavar="NAME", help=f"field of the {part} (default: {name})")
    for part in ("system", "prompt"):
        for place in ("prefix", "suffix"):
            where = "before" if place == "prefix" else "behind"
            parser.add_argument(f"--{part}-{place}", default="", metavar="TEXT",
                                help=f"text {where} the {part}, with the escapes \\n, \\r, \\t and \\\\")
    parser.add_argument("--add-bos", choices=["auto", "true", "false"], default="auto",
                        help="whether prompts get the tokenizer's beginning-of-sequence token; auto: as its own template does")
    parser.add_argument("--on-bad-record", choices=["fail", "skip"], default="fail",
                        help="what to do with a record that cannot be used (default: %(default)s)")
    parser.add_argument("--eos", action="append", default=[], metavar="TOKEN",
                        help="end token, by name or id; again for more (default: those of the files beside tokenizer.json)")
    parser.add_argument("--bos", metavar="TOKEN", help="beginning token")
    parser.add_argument("--pad", metavar="TOKEN", help="padding token")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    args = parser.parse_args()
    try:
        convert(args)
    except Problem as problem:
        print(f"tokenize.py: {problem}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"tokenize.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
