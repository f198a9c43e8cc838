#!/usr/bin/env python3
"""Makes small tokenizers of several families, and what the `tokenizers` library makes of texts.

    tools/golden/tokenizers_fixture.py OUTPUT [--random N] [--seed S]

Writes OUTPUT/<family>/{tokenizer.json,expected.json}, in the form of tests/fixtures/tokenizer. The
committed ones: --random 40; --characters writes those over characters (committed: --random 500). A cross-check with more strings:
    tools/golden/tokenizers_fixture.py /tmp/more --random 5000 --seed 7
    ORRERY_TOKENIZER_DIR=/tmp/more ctest --test-dir build/dev -L tokenizer
cost: seconds, a few MB; needs: pip install tokenizers
"""
import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
import tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# Words, numbers and odd characters that texts are put together from. Code points that Unicode has
# had for long: libraries differ in what they know of the newest ones.
PIECES = ["the", " the", "The", "don't", "DON'T", "we'LL", "it\u2019s", "hello", " world", "12345", "7", " 007",
          "3.14", " ", "  ", "   ", "\n", "\r\n", "\n\n", "\t", " \n", "\u00a0", "\u3000", "\u2028", "\u200b",
          "\u180e", "\u0085", "\ufeff", "caf\u00e9", "cafe\u0301", "\u212b", "\u1e9b\u0323", "\uac00", "\u1100\u1161",
          "\u0915\u094d\u0937", "\u0e01\u0e33", "\u4f60\u597d", "\u3053\u3093", "\u0661\u0662", "\u00bd", "\u2167", "\u2460", "\u24b6",
          "\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ue000", "\U0010ffff", "\u0000", "\u0007", "\u007f",
          "!", "?!", "...", " --", "_", "__init__", "=", "==", "(", ")", "{}", "/", "//", "\\", "'", "''", "\"",
          "\u017f", "'\u017f", "\u00df", "\u0130", "<", ">", "<|", "|>", "a", "b", "Z", " x", "mask"]
TEXT = ["The quick brown fox jumps over the lazy dog. " * 3, "don't we'll it's I'm you're they've he'd " * 3,
        "hello world hello there 12345 2024 10+20=30 3*4=12\n" * 3, "def __init__(self):\n    return x == y\n\n" * 3,
        "caf\u00e9 na\u00efve \u4f60\u597d \u4e16\u754c \u3053\u3093\u306b\u3061\u306f \u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \U0001f600\U0001f600 " * 3,
        pathlib.Path(__file__).read_text()]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


def family(name):
    """(pre-tokenizer, normalizer, added tokens, options of the file)"""
    special = [AddedToken("<|bos|>", special=True), AddedToken("<|eos|>", special=True)]
    plain = [AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)]
    strips = [AddedToken("<mask>", special=True, lstrip=True), AddedToken("<sep>", special=True, rstrip=True),
              AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
              AddedToken("mask", single_word=True, normalized=False), AddedToken("lo wo", normalized=False),
              AddedToken("caf\u00e9", normalized=True), AddedToken("<think", normalized=False),
              AddedToken("\u212b", normalized=True)]
    nfc = normalizers.NFC()
    return {
        "gpt2-prefix-space": (byte_level(prefix=True, regex=True), None, special + plain, {}),
        "llama3": (sequence(split(LLAMA3), byte_level()), None, special + plain, {"ignore_merges": True}),
        "qwen": (sequence(split(QWEN), byte_level()), nfc, special + plain, {"string_merges": True}),
        "gpt4o": (sequence(split(GPT4O), byte_level()), None, special + plain, {"ignore_merges": True}),
        "added": (byte_level(regex=True), None, special + plain + strips, {}),
        "added-nfc": (sequence(split(QWEN), byte_level()), nfc, special + plain + strips, {}),
        "nfkc": (byte_level(regex=True), normalizers.Sequence([normalizers.NFKC(), nfc]), special + strips, {}),
        "nfd": (byte_level(regex=True), normalizers.NFD(), special + strips, {}),
        "removed": (sequence(split(r"\s+", "removed"), byte_level()), None, special, {}),
        "previous": (sequence(split(r"\s", "merged_with_previous"), byte_level()), None, special, {}),
        "next": (sequence(split(r"\s", "merged_with_next"), byte_level()), None, special, {}),
        "contiguous": (sequence(split(r"\w", "contiguous"), byte_level()), None, special, {}),
        "inverted": (sequence(split(LLAMA3, "removed", invert=True), byte_level()), None, special, {}),
        "digits": (sequence(pre_tokenizers.Digits(individual_digits=True), byte_level(regex=True)), None, special, {}),
        "digits-together": (sequence(pre_tokenizers.Digits(), byte_level(regex=True)), None, special, {}),
        "literal": (sequence(pre_tokenizers.Split("=", "isolated"), byte_level()), None, special, {}),
        "small-alphabet": (byte_level(regex=True), None, special, {"alphabet": []}),
    }[name]


FAMILIES = ["gpt2-prefix-space", "llama3", "qwen", "gpt4o", "added", "added-nfc", "nfkc", "nfd", "removed",
            "previous", "next", "contiguous", "inverted", "digits", "digits-together", "literal", "small-alphabet"]


# Over characters: what SentencePiece models become. "_" stands for the symbol of a space here.
SPACE = "\u2581"
CHARACTER_PIECES = PIECES + [SPACE, SPACE * 2, f"{SPACE}the", "<0x41>", "<0x0a>", "<s>", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627",
                             "\u202e", "\U0001f1eb\U0001f1f7", "\u6f22\u5b57", "\ud55c\uae00", "    ", " hello", "world ", "\n ", " \n\n"]
CHARACTER_FAMILIES = ["llama2", "mistral", "gemma", "metaspace-always", "metaspace-never", "some-bytes", "no-unknown",
                      "replace-pattern", "metaspace-behind-split"]


def fallback_decoder(strip=True):
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))


def character_family(name):
    """(normalizer, pre-tokenizer, decoder, added tokens, options of the model)"""
    prepend = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    old = [AddedToken(t, special=True, normalized=True) for t in ("<unk>", "<s>", "</s>")]
    new = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    words = [AddedToken("<mask>", special=True, lstrip=True, normalized=False),
             AddedToken("<sep>", special=True, rstrip=True, normalized=False),
             AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
             AddedToken("lo wo", normalized=True), AddedToken("caf\u00e9", normalized=True, lstrip=True),
             AddedToken("mask", single_word=True, normalized=True)]
    lines = [AddedToken(t, normalized=False) for t in ("\n", "\n\n", "\t", SPACE * 2, SPACE * 3, "<start_of_turn>")]
    metaspace = pre_tokenizers.Metaspace
    bytes_of = {"byte_fallback": True, "fuse_unk": True}
    return {
        "llama2": (prepend, None, fallback_decoder(), old, bytes_of),
        "mistral": (None, metaspace(SPACE, "first", split=False), fallback_decoder(), new + words, bytes_of),
        "gemma": (normalizers.Replace(" ", SPACE), pre_tokenizers.Split(" ", "merged_with_previous"),
                  fallback_decoder(strip=False), new + lines, bytes_of),
        "metaspace-always": (None, metaspace(SPACE, "always", split=True), decoders.Metaspace(SPACE, "always"), new + words,
                             {"fuse_unk": True}),
        "metaspace-never": (normalizers.NFC(), metaspace(SPACE, "never", split=True), decoders.Metaspace(SPACE, "never"), new,
                            {"fuse_unk": False}),
        "some-bytes": (prepend, None, fallback_decoder(), new + words,
                       {"byte_fallback": True, "fuse_unk": True, "bytes": range(0x80, 0xf0), "ignore_merges": True}),
        "no-unknown": (normalizers.Replace(" ", SPACE), None, fallback_decoder(strip=False), new, {"unknown": None}),
        "replace-pattern": (normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), SPACE),
                                                  normalizers.Prepend(SPACE)]), pre_tokenizers.Digits(individual_digits=True),
                            decoders.Sequence([decoders.Replace(Regex(SPACE + "+"), " "), decoders.ByteFallback(), decoders.Fuse()]),
                            old + words, bytes_of),
        "metaspace-behind-split": (None, sequence(split(r"\d+|\n", "isolated"), metaspace(SPACE, "first", split=True)),
                                   decoders.Metaspace(SPACE, "first"), new + words, {**bytes_of, "fuse_unk": False}),
    }[name]


def make_of_characters(name):
    normalizer, pre, decoder, added, options = character_family(name)
    model = models.BPE(unk_token=options.get("unknown", "<unk>"), fuse_unk=options.get("fuse_unk", False),
                       byte_fallback=options.get("byte_fallback", False))
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    # Words to learn from, whatever the file's own splitting: its merges may go across spaces.
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", SPACE)
    learner.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    names = [f"<0x{b:02X}>" for b in (options.get("bytes", range(256)) if options.get("byte_fallback") else [])]
    trainer = trainers.BpeTrainer(vocab_size=460 + len(names), special_tokens=["<unk>", "<s>", "</s>"] + names,
                                  show_progress=False, limit_alphabet=70)
    learner.train_from_iterator(TEXT, trainer)
    learned = json.loads(learner.to_str())["model"]
    data = json.loads(tokenizer.to_str())
    data["model"]["vocab"], data["model"]["merges"] = learned["vocab"], learned["merges"]
    if options.get("ignore_merges"):
        data["model"]["ignore_merges"] = True
        for word in [f"{SPACE}hello{SPACE}world", f"{SPACE}zzqx", "hello"]:
            data["model"]["vocab"].setdefault(word, len(data["model"]["vocab"]))
    data["decoder"] = json.loads(decoder.__getstate__())
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens([t for t in added if t.special])
    tokenizer.add_tokens([t for t in added if not t.special])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return json.loads(tokenizer.to_str())


def make(name):
    if name in CHARACTER_FAMILIES:
        return make_of_characters(name)
    pre, normalizer, added, options = family(name)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    specials = [t for t in added if t.special]
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=specials[:2], show_progress=False,
                                  initial_alphabet=options.get("alphabet", pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(specials[2:])
    tokenizer.add_tokens([t for t in added if not t.special])
    template = processors.TemplateProcessing(single="<|bos|> $A <|eos|>" if name == "added" else "<|bos|> $A",
                                             special_tokens=[("<|bos|>", 0), ("<|eos|>", 1)])
    tokenizer.post_processor = (processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
                                if name == "llama3" else template)
    data = json.loads(tokenizer.to_str())
    if options.get("ignore_merges"):
        data["model"]["ignore_merges"] = True
        # Whole words that no merges lead to: what ignore_merges is about.
        vocabulary = data["model"]["vocab"]
        for word in ["\u0120jumps\u0120over", "hello", "zzqx", "\u0120zzqx"]:
            vocabulary.setdefault(word, len(vocabulary))
        behind = [t for t in data["added_tokens"] if t["content"] not in vocabulary]
        for place, token in enumerate(behind):
            token["id"] = len(vocabulary) + place
    if options.get("string_merges"):
        data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return data


def texts(rng, n, added, known=PIECES):
    result = ["", " ", "\n", "hello world", " hello  world ", "The zzqx zzqx jumps over", "a" * 300, " " * 100,
              "ab" * 120, "=" * 130 + "x", "masks mask mask. unmask _mask mask\u0301 (mask)"]
    pieces = known + added * 3
    for _ in range(n):
        result.append("".join(rng.choice(pieces) for _ in range(rng.randrange(1, 14))))
    return result


def without_special(tokenizer, ids):
    """The text without special tokens. Where a normalizer changes the name of a special token the
    library forgets that it is one (skip_special_tokens keeps it): they are left out by their ids."""
    special = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
    return tokenizer.decode([i for i in ids if i not in special], skip_special_tokens=False)


def expect(tokenizer, rng, n, pieces=PIECES):
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    cases = []
    for text in texts(rng, n, added, pieces):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        cases.append({"text": text, "ids": ids, "ids_with_special": tokenizer.encode(text).ids,
                      "tokens": [tokenizer.id_to_token(i) for i in ids],
                      "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                      "decoded_skip_special": without_special(tokenizer, ids)})
    every = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    decode_only = []
    for _ in range(n):
        ids = [rng.choice(every) for _ in range(rng.randrange(1, 9))]
        decode_only.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                            "decoded_skip_special": without_special(tokenizer, ids)})
    named = tokenizer.get_added_tokens_decoder()
    return {"made_with": f"tokenizers {tokenizers.__version__}",
            "vocab_size": tokenizer.get_vocab_size(with_added_tokens=True),
            "special": {t.content: i for i, t in named.items() if t.special},
            "added_not_special": {t.content: i for i, t in named.items() if not t.special},
            "encode": cases, "decode_only": decode_only}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--random", type=int, default=40)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--characters", action="store_true", help="the families over characters")
    arguments = parser.parse_args()
    for name in CHARACTER_FAMILIES if arguments.characters else FAMILIES:
        rng = random.Random(f"{arguments.seed} {name}")
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(make(name), ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        expected = expect(Tokenizer.from_str(text), rng, arguments.random,
                          CHARACTER_PIECES if arguments.characters else PIECES)
        if arguments.characters:  # many texts: what `ids` says already is left out
            for case in expected["encode"]:
                del case["tokens"]
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        print(f"{folder}: {expected['vocab_size']} tokens, {len(expected['encode'])} texts")


if __name__ == "__main__":
    main()
