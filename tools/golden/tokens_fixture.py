#!/usr/bin/env python3
"""Makes tests/fixtures/tokens: records, and the pre-tokenized datasets that tools/tokenize.py makes of them.

    tools/golden/tokens_fixture.py OUTPUT

The records have the fields of all three kinds of data sets. OUTPUT/{prompts,completions,
preferences}.h5 are of tests/fixtures/tokenizer, with texts around instruction and prompt. OUTPUT/
unigram holds a tokenizer that Orrery does not read itself, and files made with it, without texts.
cost: seconds; needs: pip install tokenizers h5py
"""
import json
import pathlib
import random
import subprocess
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = ("the quick brown fox jumps over a lazy dog while twenty seven caf\u00e9s \u00ff \u4f60\u597d sell "
         "na\u00efve tea 3.14 ; and").split()


def records(generator):
    for i in range(40):
        a, b = generator.randrange(100), generator.randrange(100)
        words = generator.choices(WORDS, k=generator.randrange(6))
        record = {"id": f"r{i}" if i % 3 else i, "prompt": f"{a}+{b}= " + " ".join(words), "completion": str(a + b),
                  "chosen": str(a + b), "rejected": str(a + b + 1) + generator.choice(["", " or so"])}
        if i % 4:
            record["answer"] = str(a + b)
        if i % 5 == 0:
            record["system"] = "Be brief." + generator.choice(["", " Think \u00ff."])
        if i % 2:
            record["task"] = {"name": "add", "level": i / 10, "tags": ["x", None]}
        line = json.dumps(record, ensure_ascii=bool(i % 7))
        # Numbers that no reader would write again as they are, and spaces.
        yield line if i != 2 else '{"big": 12345678901234567890123, "half":  1.50, ' + line[1:]


def unigram(texts):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", show_progress=False,
                                      special_tokens=["<unk>", "<s>", "</s>", "<pad>"])
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    return tokenizer


def tokenize(*arguments):
    subprocess.run([sys.executable, ROOT / "tools/tokenize.py", "--quiet", "--add-bos", "false", *map(str, arguments)], check=True)


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "unigram").mkdir(parents=True, exist_ok=True)
    lines = list(records(random.Random(3)))
    data = out / "records.jsonl"
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for kind in ("prompts", "completions", "preferences"):
        tokenize("--tokenizer", ROOT / "tests/fixtures/tokenizer", "--eos", "<|eos|>", "--kind", kind,
                 "--system-prefix", "<|bos|>", "--system-suffix", "\\n", "--prompt-prefix", "Q: ",
                 "--prompt-suffix", "<think>", data, out / f"{kind}.h5")
    texts = [json.loads(line)["prompt"] for line in lines] + [str(n) for n in range(300)]
    unigram(texts).save(str(out / "unigram/tokenizer.json"), pretty=False)
    (out / "unigram/tokenizer_config.json").write_text(
        json.dumps({"eos_token": "</s>", "bos_token": {"content": "<s>"}, "pad_token": "<pad>"}))
    for kind in ("prompts", "completions"):
        tokenize("--tokenizer", out / "unigram", "--kind", kind, data, out / f"unigram/{kind}.h5")


main()
