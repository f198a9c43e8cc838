"""Which prompts are the same: what an evaluation asks must not be trained on."""
import argparse
import hashlib

from .problem import BadRecord, Problem, tokens
from .readers import open_source
from .styles import PARTS, Layout


def hashed(data):
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def content_of(message):
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return str(content)


def conversation_key(messages):
    """A hash of what is asked: without system messages, case and the number of blanks."""
    asked = [message["role"] + ":" + content_of(message) for message in messages if message["role"] not in ("system", "developer")]
    return hashed(" ".join("\n".join(asked).casefold().split()).encode("utf-8", "surrogatepass"))


def texts_key(texts):
    """A hash of what is learned from or compared with, to the letter."""
    return hashed("\0".join(texts.values()).encode("utf-8", "surrogatepass"))


class EvaluationPrompts:
    """Hashes of the prompts of evaluation sets: of text, and of tokens where a set is a file of those."""

    def __init__(self, paths, args, vocabulary):
        self.texts, self.tokens = set(), set()
        self.names = " or ".join(path.name for path in paths)
        for path in paths:
            if path.is_file() and path.open("rb").read(4) == b"\x89HDF":
                self.add_tokens(path, vocabulary)
            else:
                self.add_texts(path, args)

    def add_texts(self, path, args):
        source = open_source(path, advice="name the folder or the file of one of them")
        # Its columns need not be those of the training data.
        free = argparse.Namespace(**{f"{part}_field": None for part in PARTS}, system=None, style="auto", kind="auto",
                                  as_text=args.as_text)
        try:
            layout = Layout(source, args)
        except Problem:
            layout = Layout(source, free)
        for row in source:
            try:
                if row.values is None:
                    raise BadRecord(row.problem)
                self.texts.add(conversation_key(layout.asked(row)))
            except (BadRecord, ValueError) as error:
                raise Problem(f"{source.where(row.number)}: {error}: an evaluation set that cannot be compared with as a whole")

    def add_tokens(self, path, vocabulary):
        import h5py
        try:
            with h5py.File(path) as file:
                offsets, values, table = file["prompt/offsets"][:], file["prompt/values"], file["vocabulary/values"][:]
                if bytes(table) != b"".join(vocabulary.bytes):
                    raise Problem(f"{path} was made with another tokenizer")
                for at in range(0, len(offsets) - 1, 10000):
                    part = offsets[at:at + 10001]
                    block = values[part[0]:part[-1]]
                    for begin, end in zip(part, part[1:]):
                        self.tokens.add(hashed(block[begin - part[0]:end - part[0]].astype("<i4").tobytes()))
        except (KeyError, OSError) as error:
            raise Problem(f"{path} is no pre-tokenized dataset: {error}")

    def has_tokens(self, ids):
        if not self.tokens:
            return False
        return hashed(b"".join(id.to_bytes(4, "little") for id in ids)) in self.tokens
