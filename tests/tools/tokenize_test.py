"""tools/tokenize.py: what it writes is what the tokenizers library says; what it refuses it names.

Without the packages tokenizers and h5py only what needs neither is tested: exit status 77 then.
"""
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"

# By its path: the standard library has a module of this name.
spec = importlib.util.spec_from_file_location("orrery_tokenize", ROOT / "tools/tokenize.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

try:
    import h5py
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    MISSING = ""
except ImportError as error:
    MISSING = f"{error.name} is not installed: pip install tokenizers h5py"

TEXTS = ["the quick brown fox", "The fox, it jumps!", "12 + 34 = 46", "caf\u00e9 \u4f60\u597d na\u00efve", "a\nb"]


def run(*arguments, isolated=False):
    flags = ["-I", "-S"] if isolated else []  # -S: as if nothing were installed
    return subprocess.run([sys.executable, *flags, ROOT / "tools/tokenize.py", *map(str, arguments)],
                          capture_output=True, text=True)


class WithoutPackages(unittest.TestCase):
    def test_help_names_the_options_and_what_is_needed(self):
        result = run("--help", isolated=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in ("--tokenizer", "--prompt-prefix", "--on-bad-record", "pip install tokenizers h5py"):
            self.assertIn(part, result.stdout)

    def test_a_missing_package_is_named(self):
        result = run("--tokenizer", "x", "a.jsonl", "a.h5", isolated=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("is missing: pip install tokenizers h5py", result.stderr)

    def test_other_fields_stand_as_they_stood(self):
        line = r'{"a": 1.50, "p": "x", "b\u00e4": [1,  {"c": "d, e}\" "}], "n": 12345678901234567890123 }'
        fields = {name: tool.compact(value) for name, value in tool.raw_fields(line)}
        self.assertEqual(fields, {"a": "1.50", "p": '"x"', "b\u00e4": r'[1,{"c":"d, e}\" "}]', "n": "12345678901234567890123"})

    def test_escapes_are_those_of_configuration_files(self):
        self.assertEqual(tool.unescaped(r"a\nb\tc\rd\\n"), "a\nb\tc\rd\\n")
        for text in (r"\x", "\\"):
            with self.assertRaises(tool.Problem):
                tool.unescaped(text)

    def test_bytes_of_tokens(self):
        alphabet = tool.byte_alphabet()
        fallback = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
        for steps, token, expected in [
                ([{"type": "ByteLevel"}], "\u0120caf\u00c3\u00a9", " caf\u00e9".encode()), (fallback, "<0xE4>", b"\xe4"),
                (fallback, "\u2581\u00e4", " \u00e4".encode()), (fallback, "<0xZZ>", b"<0xZZ>"),
                ([{"type": "WordPiece", "prefix": "##"}], "##ing", b"ing"), ([{"type": "WordPiece"}], "go", b" go"),
                ([{"type": "BPEDecoder", "suffix": "</w>"}], "go</w>", b"go "), ([], "word", b" word")]:
            self.assertEqual(tool.token_bytes(token, steps, alphabet), expected, token)
        with self.assertRaises(tool.Problem):
            tool.token_bytes("x", [{"type": "CTC"}], alphabet)


@unittest.skipIf(MISSING, MISSING)
class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def data(self, *lines):
        path = self.path / "data.jsonl"
        path.write_bytes(b"".join(line if isinstance(line, bytes) else (json.dumps(line) + "\n").encode() for line in lines))
        return path

    def tokenize(self, tokenizer, data, *more):
        return run("--tokenizer", tokenizer, data, self.path / "out.h5", *more)

    def check_against_library(self, tokenizer):
        folder = self.path / "model"
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
        result = self.tokenize(folder, self.data(*({"prompt": text, "completion": text[::-1]} for text in TEXTS)),
                               "--kind", "completions", "--prompt-suffix", "\\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("do not give the library's text", result.stderr)
        with h5py.File(self.path / "out.h5") as file:
            table, begins = bytes(file["vocabulary/values"][:]), file["vocabulary/offsets"][:]
            special = file["vocabulary/special"][:]
            self.assertEqual(list(file["vocabulary"].attrs["eos_ids"]), [tokenizer.token_to_id("</s>")])
            ends = {column: file[f"{column}/offsets"][:] for column in ("prompt", "completion")}
            for i, text in enumerate(TEXTS):
                prompt, completion = (file[f"{column}/values"][at[i]:at[i + 1]].tolist() for column, at in ends.items())
                self.assertEqual(prompt, tokenizer.encode(text + "\n", add_special_tokens=False).ids)
                self.assertEqual(prompt + completion, tokenizer.encode(text + "\n" + text[::-1], add_special_tokens=False).ids)
                own = b"".join(table[begins[id]:begins[id + 1]] for id in prompt + completion if not special[id])
                self.assertEqual(own.decode(errors="replace").split(), tokenizer.decode(prompt + completion).split())

    def trained(self, tokenizer, trainer):
        tokenizer.train_from_iterator(TEXTS * 3, trainer)
        return tokenizer

    def test_unigram(self):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        self.check_against_library(self.trained(tokenizer, trainers.UnigramTrainer(
            vocab_size=80, unk_token="<unk>", special_tokens=["<unk>", "</s>"], show_progress=False)))

    def test_word_piece(self):
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        self.check_against_library(self.trained(tokenizer, trainers.WordPieceTrainer(
            vocab_size=90, special_tokens=["<unk>", "</s>"], show_progress=False)))

    def test_byte_fallback(self):
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                               decoders.Strip(" ", 1, 0)])
        self.check_against_library(self.trained(tokenizer, trainers.BpeTrainer(
            vocab_size=330, special_tokens=["<unk>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)],
            initial_alphabet=["a"], limit_alphabet=20, show_progress=False)))

    def test_the_committed_files_are_made_again(self):
        made = run("--tokenizer", FIXTURES / "tokens/unigram", FIXTURES / "tokens/records.jsonl", self.path / "out.h5")
        self.assertEqual(made.returncode, 0, made.stderr)
        with h5py.File(self.path / "out.h5") as new, h5py.File(FIXTURES / "tokens/unigram/prompts.h5") as old:
            names = []
            old.visit(names.append)
            for name in names:
                if isinstance(old[name], h5py.Dataset):
                    self.assertEqual(new[name][:].tolist(), old[name][:].tolist(), name)

    def test_prompts_begin_as_the_tokenizer_begins_a_text(self):
        def prompts(*more):
            made = self.tokenize(FIXTURES / "tokenizer", self.data({"prompt": "12"}, {"prompt": "<|bos|>12"}),
                                 "--eos", "<|eos|>", "--bos", "<|bos|>", *more)
            self.assertEqual(made.returncode, 0, made.stderr)
            with h5py.File(self.path / "out.h5") as file:
                return file["prompt/values"][:].tolist()

        self.assertEqual(prompts(), [0, 320, 0, 320])
        self.assertEqual(prompts("--add-bos", "true"), [0, 320, 0, 320])
        self.assertEqual(prompts("--add-bos", "false"), [320, 0, 320])

    def test_numbers_are_answers_as_they_are_written(self):
        path = self.path / "n.jsonl"
        path.write_text('{"id": 7, "prompt": "a", "answer": 1.50}\n{"id": "x", "prompt": "a", "answer": -3}\n')
        made = self.tokenize(FIXTURES / "tokenizer", path, "--eos", "<|eos|>")
        self.assertEqual(made.returncode, 0, made.stderr)
        with h5py.File(self.path / "out.h5") as file:
            self.assertEqual(bytes(file["answer/values"][:]), b"1.50-3")
            self.assertIn(b'{"id":7}', bytes(file["fields/values"][:]))

    def test_bad_records_are_named_and_nothing_is_left(self):
        bad = [(b"[1]\n", "expected an object"), (b"{\n", ""), (b'{"prompt": "x"\n', ""), (b'{"answer": "x"}\n', '"prompt" is missing'),
               (b'{"prompt": ""}\n', '"prompt" is empty'), (b'{"prompt": 3}\n', "must be a text"),
               (b'{"prompt": "x", "prompt": "y"}\n', "comes twice"), (b'{"prompt": "\xff"}\n', "not UTF-8"),
               (b'{"prompt": "\0"}\n', "NUL"), (b"\n", "an empty line"), (b'{"prompt": "x", "id": "a"}\n', "already used"),
               (b'{"prompt": "x", "id": [1]}\n', "must be a text"), (b'{"prompt": "x", "system": {}}\n', "must be a text"),
               (b'{"prompt": "\\ud800"}\n', ""), (b'{"prompt": "x", "n": NaN}\n', "NaN")]
        for line, problem in bad:
            data = self.data({"prompt": "p", "id": "a"}, line, {"prompt": "q"})
            result = self.tokenize(FIXTURES / "tokens/unigram", data)
            self.assertEqual(result.returncode, 2, line)
            self.assertIn(f"{data}:2: ", result.stderr)
            self.assertIn(problem, result.stderr)
            self.assertIn("1 of 3 records rejected", result.stderr)
            self.assertEqual(sorted(path.name for path in self.path.iterdir()), ["data.jsonl"])
            skipped = self.tokenize(FIXTURES / "tokens/unigram", data, "--on-bad-record", "skip")
            self.assertEqual(skipped.returncode, 0, skipped.stderr)
            with h5py.File(self.path / "out.h5") as file:
                self.assertEqual(file["line"][:].tolist(), [1, 3])
            (self.path / "out.h5").unlink()

    def test_what_cannot_be_done_is_said(self):
        good = self.data({"prompt": "p"})
        for arguments, part in [((self.path / "none", good), "there is no tokenizer.json"),
                                ((FIXTURES / "tokenizer", good), "no end token"),
                                ((FIXTURES / "tokens/unigram", self.path / "none.jsonl"), "there is no such file"),
                                ((FIXTURES / "tokens/unigram", good, "--eos", "<none>"), "no such token"),
                                ((FIXTURES / "tokens/unigram", good, "--prompt-prefix", "\\q"), "escapes"),
                                ((FIXTURES / "tokens/unigram", self.data()), "no usable record")]:
            result = self.tokenize(*arguments)
            self.assertEqual((result.returncode, part in result.stderr), (2, True), result.stderr)

    def test_end_tokens_by_name_and_by_id(self):
        result = self.tokenize(FIXTURES / "tokenizer", self.data({"prompt": "p"}), "--eos", "<|eos|>", "--eos", "300")
        self.assertEqual(result.returncode, 0, result.stderr)
        with h5py.File(self.path / "out.h5") as file:
            self.assertEqual(file["vocabulary"].attrs["eos_ids"].tolist(), [1, 300])


if __name__ == "__main__":
    program = unittest.main(exit=False)
    if MISSING:
        print(f"tokenize_test.py: {MISSING}")
    sys.exit(1 if not program.result.wasSuccessful() else 77 if MISSING else 0)
