"""tools/prepare_data.py: prompts are what transformers renders, nothing is lost, what is refused is named.

Templates against recorded renderings, and everything that happens before tokens are written, need
jinja2 alone. Real files need tokenizers and h5py, Parquet and saved data sets pyarrow (numpy):
without one of them its tests are skipped by name and the exit status is 77.
    prepare_data_test.py [--program ORRERY] [CLASS...]    ORRERY is asked whether it takes what was written
"""
import contextlib
import datetime
import gzip
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAT = ROOT / "tests/fixtures/chat"
ORRERY = sys.argv.pop(1) if sys.argv[1:2] == ["--program"] and sys.argv.pop(1) else None
sys.path.insert(0, str(ROOT / "tools"))

from prepare import chat, program, readers, rendering, styles  # noqa: E402
from prepare.problem import BadRecord, tokens  # noqa: E402


def needs(*names):
    try:
        for name in names:
            __import__(name)
        return lambda test: test
    except ImportError as error:
        return unittest.skip(f"{error.name} is not installed: pip install {error.name}")


with_jinja = needs("jinja2")
with_arrow = needs("pyarrow", "numpy")
with_writer = needs("tokenizers", "h5py", "jinja2")

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
USER, ASSISTANT = "<|im_start|>user\n%s<|im_end|>\n", "<|im_start|>assistant\n"
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


class Vocabulary:
    """Of bytes and three marks: what tokens.Vocabulary is, without the tokenizers library."""

    class Library:
        @staticmethod
        def id_to_token(id):
            return MARKS[id - 256] if id >= 256 else chr(id)

        @staticmethod
        def decode(ids, skip_special_tokens):
            return bytes(id for id in ids if id < 256).decode(errors="replace")

    def __init__(self, path, args, tokenizers):
        self.tokenizer, self.eos, self.bos, self.pad = self.Library(), [256], 256, 256
        self.bytes = [bytes([i]) for i in range(256)] + [mark.encode() for mark in MARKS]
        self.special = [0] * 256 + [1] * len(MARKS)
        self.n_apart = 0

    def encode_answers(self, prompts, answers):
        return self.encode(answers)

    def encode(self, texts):
        result = []
        for text in texts:
            for i, mark in enumerate(MARKS):
                text = text.replace(mark, chr(0x10FF00 + i))
            ids = [256 + ord(c) - 0x10FF00 if ord(c) >= 0x10FF00 else list(c.encode()) for c in text]
            result.append([id for part in ids for id in (part if isinstance(part, list) else [part])])
        return result

    def decode(self, ids):
        return b"".join(self.bytes[id] for id in ids if not self.special[id]).decode(errors="replace")

    def text(self, ids):
        return b"".join(self.bytes[id] for id in ids).decode()


class Output:
    """What tokens.Output is, into JSON lines."""

    def __init__(self, path, args, vocabulary, h5py, numpy):
        self.file, self.eos, self.real = open(path, "w"), vocabulary.eos, vocabulary
        assert args.data.stat().st_size > 0 and args.data.name
        json.dump({"kind": args.kind, "eos": vocabulary.eos}, self.file)

    def append(self, block):
        for number, texts in block:
            texts = {name: self.real.text(self.vocabulary.encode([text])[0]) if isinstance(text, list) else text
                     for name, text in texts.items()}
            self.file.write("\n" + json.dumps({"line": number, **texts}))

    def close(self):
        self.file.close()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.model = self.path / "model"
        self.model.mkdir()
        self.out = self.path / "out.h5"
        (self.model / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "chat_template": CHATML}))

    def lines(self, *records, name="data.jsonl"):
        path = self.path / name
        path.write_bytes(b"".join(record + b"\n" if isinstance(record, bytes) else json.dumps(record).encode() + b"\n" for record in records))
        return path

    def prepare(self, data, *options, status=0, model=None):
        """What is printed, stdout then stderr; self.records and self.head are what was written."""
        out, err = io.StringIO(), io.StringIO()
        before = self.out.read_bytes() if self.out.exists() else None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
                mock.patch.object(tokens, "libraries", lambda: (None, None, None)), \
                mock.patch.object(tokens, "Vocabulary", Vocabulary), mock.patch.object(tokens, "Output", Output):
            code = program.main("", [str(data), str(self.out), "--model", str(model or self.model), "--quiet", *map(str, options)])
        self.assertEqual(code, status, err.getvalue())
        self.assertEqual(list(self.path.glob("*.partial")), [])
        if code:
            self.assertEqual(self.out.read_bytes() if self.out.exists() else None, before)
            self.assertEqual(out.getvalue(), "")
        elif self.out.exists():  # of several kinds there is a file each
            self.head, self.records = self.written(self.out)
        return out.getvalue() + err.getvalue()

    @staticmethod
    def written(path):
        head, *records = [json.loads(line) for line in path.read_text().split("\n")]
        return head, records

    def refused(self, data, *parts, options=()):
        said = self.prepare(data, *options, status=2)
        for part in parts:
            self.assertIn(part, said)
        return said


@with_jinja
class Templates(Case):
    def test_renderings_are_those_of_transformers(self):
        expected = json.loads((CHAT / "expected.json").read_text(encoding="utf-8"))
        conversations = json.loads((CHAT / "conversations.json").read_text(encoding="utf-8"))
        now = datetime.datetime.fromisoformat(expected["now"])
        self.assertEqual(len(expected["expected"]), 10)
        for folder, renderings in expected["expected"].items():
            self.assertEqual(set(renderings), set(conversations))
            for name, rendering in renderings.items():
                conversation = conversations[name]
                template = chat.ChatTemplate.of(CHAT / folder, options=conversation.get("options"), now=now)
                with self.subTest(template=folder, conversation=name):
                    if "error" in rendering:
                        with self.assertRaises(BadRecord) as caught:
                            template.render(conversation["messages"], generation_prompt=True, tools=conversation.get("tools"))
                        self.assertEqual(str(caught.exception), "the chat template: " + rendering["error"])
                        continue
                    for prompt, text in ((True, rendering["prompt"]), (False, rendering["whole"])):
                        self.assertEqual(template.render(conversation["messages"], generation_prompt=prompt,
                                                         tools=conversation.get("tools")), text)

    def test_templates_cannot_reach_out_of_themselves(self):
        for text in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% set n = namespace(_x=1) %}",
                     "{% set n = namespace() %}{% set n._x = 1 %}", "{{ cycler.__init__.__globals__.os }}"):
            template = chat.ChatTemplate({"default": text}, "x")
            try:
                self.assertEqual(template.render([{"role": "user", "content": "x"}], generation_prompt=True).strip(), "", text)
            except BadRecord:
                pass

    def test_numbers_of_messages_are_rendered_as_numbers(self):
        values, _ = readers.parsed(b'{"messages": [{"role": "user", "content": {"a": 1.50, "b": 1e2, "c": -0}}]}')
        template = chat.ChatTemplate({"default": "{{ messages[0].content | tojson }} {{ messages[0].content.a }}"}, "x")
        self.assertEqual(template.render(values["messages"], generation_prompt=False), '{"a": 1.5, "b": 100.0, "c": 0} 1.5')

    def test_templates_see_the_special_tokens_that_this_model_alone_has(self):
        (self.model / "tokenizer_config.json").write_text(json.dumps({
            "bos_token": "<s>", "extra_special_tokens": {"image_token": "<image>", "audio_token": {"content": "<audio>"}},
            "chat_template": "{{ bos_token }}{{ image_token }}{{ audio_token }}"}))
        template = chat.ChatTemplate.of(self.model)
        self.assertEqual(template.render([{"role": "user", "content": "a"}], generation_prompt=True), "<s><image><audio>")

    def test_an_old_sandbox_is_said(self):
        said = []
        with mock.patch.object(chat.jinja(), "__version__", "3.1.2"):
            chat.warn_of_old_jinja(said.append)
        self.assertIn("jinja2 3.1.2", said[0])
        with mock.patch.object(chat.jinja(), "__version__", "3.1.6"):
            chat.warn_of_old_jinja(said.append)
        self.assertEqual(len(said), 1)

    def test_a_template_that_cannot_be_rendered_is_named(self):
        data = self.lines({"prompt": "a"})
        broken = self.path / "broken.jinja"
        broken.write_text("{% if x %}\n{{ y }")
        self.refused(data, f"{broken}: the chat template cannot be rendered: line 2", options=("--template", broken))
        broken.write_text("{{ raise_exception('no such role') }}")
        self.refused(data, f"{data}:1: the chat template: no such role", options=("--template", broken))
        broken.write_bytes(b"\xff")
        self.refused(data, str(broken), options=("--template", broken))
        self.refused(data, 'there is no chat template "rag"; there are: default', options=("--template-name", "rag"))
        (self.model / "tokenizer_config.json").write_text("{")
        self.refused(data, "tokenizer_config.json:")


@with_jinja
class Styles(Case):
    def test_gsm8k(self):
        data = self.lines({"question": "How many?", "answer": "2*3=<<2*3=6>>6\n#### 6"},
                          {"question": "And now?", "answer": "many\n#### 1,234,567"}, {"question": "Less?", "answer": "x\n#### -2.50"})
        said = self.prepare(data)
        self.assertIn("style gsm8k, kind prompts, columns prompt = question, answer = answer", said)
        self.assertEqual([record["answer"] for record in self.records], ["6", "1234567", "-2.50"])
        self.assertEqual(self.records[0]["prompt"], USER % "How many?" + ASSISTANT)
        self.assertIn("in 1 the separators of thousands were taken out", said)
        self.assertIn("3, of which 2 are integers", said)
        self.prepare(data, "--kind", "completions", "--style", "gsm8k")
        self.assertEqual(self.records[0]["completion"], "2*3=<<2*3=6>>6\n#### 6")
        self.refused(self.lines({"question": "a", "answer": "no mark"}), ':1: column "answer" has no "####"', options=("--style", "gsm8k"))
        self.refused(self.lines({"question": "a", "answer": "x ####"}), 'no answer behind "####"', options=("--style", "gsm8k"))

    def test_one_odd_record_does_not_change_what_the_others_are(self):
        good = [{"question": f"q{i}", "answer": f"so #### {i}"} for i in range(39)]
        self.refused(self.lines({"question": "odd", "answer": "so 7"}, *good), ':1: column "answer" has no "####"', "1 of 40 records")
        good = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]} for i in range(39)]
        self.refused(self.lines(*good, {"messages": good[0]["messages"][:1]}), ":40: ", "expected messages that end with the assistant's", "1 of 40 records")

    def test_records_of_two_styles_are_no_style(self):
        data = self.lines({"question": "a", "answer": "so #### 1"}, {"question": "b", "answer": "so 2"})
        self.refused(data, '50% of the first records have "####" in the column "answer"', "--style gsm8k or --style plain")

    def test_math(self):
        data = self.lines({"problem": "p", "solution": "so $\\boxed{1}$, no, \\boxed{\\frac{1}{2}}.", "level": "Level 5"},
                          {"problem": "q", "solution": "$\\boxed 3$", "level": "Level 1"})
        self.assertIn("style math, kind prompts", self.prepare(data))
        self.assertEqual([(record["answer"], record["fields"]) for record in self.records],
                         [("\\frac{1}{2}", '{"level":"Level 5"}'), ("3", '{"level":"Level 1"}')])
        self.prepare(data, "--kind", "completions")
        self.assertEqual(self.records[0]["completion"], "so $\\boxed{1}$, no, \\boxed{\\frac{1}{2}}.")
        self.refused(self.lines({"problem": "p", "solution": "\\boxed{1"}), ":1: ", "\\boxed", options=("--style", "math"))
        self.prepare(self.lines({"problem": "p", "solution": "\\boxed{1}", "answer": 7}))
        self.assertEqual(self.records[0]["answer"], "7")

    def test_preferences_in_their_forms(self):
        user, good, bad = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "g"}, {"role": "assistant", "content": "b"})
        for record in ({"prompt": "q", "chosen": "g", "rejected": "b"}, {"prompt": "q", "chosen": [user, good], "rejected": [user, bad]},
                       {"chosen": [user, good], "rejected": [user, bad]}, {"prompt": [user], "chosen": [good], "rejected": [bad]},
                       {"chosen": "\n\nHuman: q\n\nAssistant: g", "rejected": "\n\nHuman: q\n\nAssistant: b"}):
            self.assertIn("style preferences, kind preferences", self.prepare(self.lines(record)))
            del self.records[0]["line"]
            self.assertEqual(self.records, [{"prompt": USER % "q" + ASSISTANT, "chosen": "g", "rejected": "b"}], record)
        for record, problem in (({"prompt": "q", "chosen": "g", "rejected": "g"}, "are equal"), ({"chosen": "g", "rejected": "b"}, "is missing"),
                                ({"chosen": [user, good], "rejected": [bad]}, "same messages"), ({"prompt": "q", "chosen": "", "rejected": "b"}, "empty"),
                                ({"prompt": "q", "chosen": [user], "rejected": [bad]}, "does not end")):
            self.refused(self.lines(record), ":1: ", problem, options=("--style", "preferences"))

    def test_bad_answers_are_not_learned(self):
        data = self.lines(*({"prompt": "q", "completion": f"{i}", "label": i % 2 == 0} for i in range(4)))
        self.refused(data, 'the column "label" (true, false) says which answers are good', "kind = labelled")
        table = self.path / "data.csv"
        table.write_text("prompt,completion,label\nq,a,True\nq,b,False\n")
        self.refused(table, "kind = labelled")
        self.prepare(self.lines({"prompt": "q", "completion": "a", "label": "algebra"}))

    def test_messages(self):
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
        end = [{"role": "assistant", "content": " d\n"}]
        rendered = USER % "a" + ASSISTANT + "b<|im_end|>\n" + USER % "c" + ASSISTANT
        self.assertIn("kind completions", self.prepare(self.lines({"messages": turns + end})))
        self.assertEqual((self.records[0]["prompt"], self.records[0]["completion"]), (rendered, " d\n"))
        self.assertIn("kind prompts", self.prepare(self.lines({"messages": turns, "answer": 1.50, "n": 2.50})))
        self.assertEqual(self.records[0]["prompt"], rendered)
        self.prepare(self.lines({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}))
        self.assertEqual(self.records[0], {"line": 1, "prompt": USER % "a" + ASSISTANT, "completion": "b"})
        for messages, problem in (([], "empty"), ([{"content": "x"}], "message 1 has no role"), ([1], "list of messages"),
                                  (turns + end, "the last message is the assistant's")):
            self.refused(self.lines({"messages": messages}), ":1: ", problem, options=("--kind", "prompts"))

    def test_answers_of_other_names_are_no_prompts(self):
        asked, said = {"from": "human", "value": "a"}, {"from": "chatgpt", "value": "b"}
        self.assertIn("kind completions", self.prepare(self.lines({"conversations": [asked, said]})))
        data = self.lines({"messages": [{"role": "user", "content": "a"}, {"role": "model", "content": "b"}]})
        self.refused(data, ':1: column "messages": message 2 has the role "model", and there are system', "rename it")

    def test_lists_that_python_printed_are_no_prompts(self):
        data = self.path / "data.csv"
        data.write_text("messages\n\"[{'role': 'user', 'content': 'a'}]\"\n")
        self.refused(data, ':2: column "messages" has messages as Python prints them', "--as-text")

    def test_a_text_may_look_like_messages(self):
        text = '[{"role": "user", "content": "what is this?"}]'
        self.prepare(self.lines({"prompt": text, "answer": "JSON"}), "--as-text")
        self.assertEqual(self.records[0]["prompt"], USER % text + ASSISTANT)

    def test_messages_with_the_answer_are_used_before_their_beginning_alone(self):
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        self.prepare(self.lines({"prompt": "a", "messages": messages}))
        self.assertEqual(self.records[0], {"line": 1, "prompt": USER % "a" + ASSISTANT, "completion": "b"})
        self.prepare(self.lines({"prompt": "a", "messages": messages}), "--kind", "prompts")
        self.assertEqual(self.records[0]["prompt"], USER % "a" + ASSISTANT)

    def test_numbers_stand_as_they_were_written(self):
        self.prepare(self.lines(*(b'{"prompt": "p%d", "answer": %s, "level": %s}' % (i, n, n)
                                  for i, n in enumerate([b"1.50", b"-0", b"1E3", b"12345678901234567890123", b"72"]))))
        self.assertEqual([(record["answer"], record["fields"]) for record in self.records],
                         [(n, '{"level":%s}' % n) for n in ("1.50", "-0", "1E3", "12345678901234567890123", "72")])

    def test_system_messages_and_tools(self):
        data = self.lines({"prompt": "a", "system": "own"}, {"prompt": "b"}, {"prompt": [{"role": "system", "content": "in"}, {"role": "user", "content": "c"}]})
        self.prepare(data, "--system", "general")
        self.assertEqual([record["prompt"].split("<|im_end|>")[0] for record in self.records],
                         [f"<|im_start|>system\n{text}" for text in ("own", "general", "in")])
        tools = self.path / "tools.json"
        tools.write_text('[{"type": "function", "function": {"name": "add"}}]')
        (self.path / "t.jinja").write_text("{{ tools | tojson if tools else '' }}{{ messages[0].content }} {{ place }}")
        self.prepare(self.lines({"prompt": "a"}, {"prompt": "b", "tools": [{"name": "own"}]}), "--tools", tools,
                     "--template", self.path / "t.jinja", "--template-option", "place=here")
        self.assertEqual([record["prompt"] for record in self.records],
                         ['[{"type": "function", "function": {"name": "add"}}]a here', '[{"name": "own"}]b here'])
        tools.write_text("{}")
        self.refused(data, "expected a list of tools", options=("--tools", tools))

    def test_answers_end_where_the_template_ends_them(self):
        said = self.prepare(self.lines({"prompt": "a", "completion": "b"}))
        self.assertEqual(self.head["eos"], [258, 256])  # <|im_end|> ends answers; the file says <|endoftext|>
        self.assertIn("answers end with '<|im_end|>', as the chat template has it", said)
        self.prepare(self.lines({"prompt": "a", "completion": "b"}), "--eos", "<|endoftext|>")
        self.assertEqual(self.head["eos"], [256])

    def test_an_answer_is_what_the_template_adds_for_it(self):
        ends = {"blocks_eos": "</s>", "channels_macros": "<|return|>", "chatml_tools": "<|im_end|>", "header_dates": "<|eot_id|>",
                "inst_sys": "</s>", "inst_tools": "</s>", "role_tags": "<|end|>", "thinking_switch": "<|im_end|>",
                "turns_no_system": "<end_of_turn>"}
        adds = {"channels_macros": ("<|channel|>final<|message|>", ""), "inst_sys": (" ", " "), "inst_tools": (" ", ""),
                "blocks_eos": ("", ""), "thinking_switch": ("<think>\n\n</think>\n\n", "")}
        for folder, end in ends.items():
            maker = rendering.ChatTexts(chat.ChatTemplate.of(CHAT / folder), None, False)
            behind = maker.behind_answers()
            self.assertTrue(behind.strip().startswith(end), folder)
            maker.end, maker.behind = end, behind.lstrip()
            item = styles.Item([{"role": "user", "content": "a"}])
            item.replies["completion"] = {"role": "assistant", "content": "the answer"}
            before, after = adds.get(folder, ("", ""))
            self.assertEqual(maker.texts(item)["completion"], before + "the answer" + after, folder)
        maker = rendering.ChatTexts(chat.ChatTemplate.of(CHAT / "thinking_opened"), None, False)
        with self.assertRaises(BadRecord):
            maker.texts(item)

    def test_a_template_that_begins_answers_otherwise(self):
        (self.path / "t.jinja").write_text("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:<think>{% endif %}")
        data = self.lines({"prompt": "a", "completion": "b"})
        self.refused(data, ":1: the chat template renders the prompt otherwise", "--plain-answers", options=("--template", self.path / "t.jinja"))
        self.prepare(data, "--template", self.path / "t.jinja", "--plain-answers")
        self.assertEqual(self.records[0], {"line": 1, "prompt": "user:a;assistant:<think>", "completion": "b"})

    def test_without_a_template_prompts_are_their_text(self):
        (self.model / "tokenizer_config.json").write_text("{}")
        self.assertIn("no chat template", self.prepare(self.lines({"prompt": "2+2=", "answer": "4"})))
        self.assertEqual(self.records[0]["prompt"], "2+2=")
        self.refused(self.lines({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}), ":1: ", "need a chat template")
        self.refused(self.lines({"prompt": "a"}), "--system needs a chat template", options=("--system", "s"))


@with_jinja
class Sources(Case):
    def test_a_json_array(self):
        path = self.path / "data.json"
        path.write_text(' [\n {"prompt": "a, ]}\\" b", "answer": "1"},\n\n {"prompt": "{[", "x": [{"y": []}]} ]\n')
        self.prepare(path, "--answer-field", "x", status=2)
        self.prepare(path, "--on-bad-record", "skip")
        self.assertEqual([(record["line"], record["answer"]) for record in self.records], [(2, "1")])
        for text, problem in (('[{"prompt": "a"}, {"prompt": "b"', ":1: the array does not end"), ('[{"prompt": "a"}] x', "behind the array's end"),
                              ('[{"prompt": "a"}, 3]', ":1: expected an object"), ('[{"prompt": "a"},,{"prompt": "b"}]', "an element is missing"),
                              ('[{"prompt": "a"}][{"prompt": "b"}]', "behind the array's end"), ('[{"prompt": "a}]', "a text that does not end"),
                              ('[\n{"prompt": "a"},\n{"prompt": b}\n]', ":3: no JSON"), ("[]", "has no record")):
            path.write_text(text)
            self.refused(path, problem)
        for text in ('{\n "prompt": "a"\n}\n', '{"data": [\n {"prompt": "a"}\n]}\n'):
            path.write_text(text)
            self.refused(path, "is one JSON object over several lines")
        for n in (1, 2):
            path.write_text('{"prompt": "a"}\n' * n)
            self.prepare(path)
            self.assertEqual(len(self.records), n)

    def test_csv(self):
        path = self.path / "data.csv"
        path.write_bytes('\ufeffprompt,answer,level\r\n"a, ""b""\nc",007,3\r\n\r\nd,1.50,\r\n'.encode())
        self.prepare(path)
        self.assertEqual([(record["line"], record["prompt"], record["answer"], record["fields"]) for record in self.records],
                         [(2, USER % 'a, "b"\nc' + ASSISTANT, "007", '{"level":"3"}'), (5, USER % "d" + ASSISTANT, "1.50", '{"level":""}')])
        for content, problem in ((b"prompt,answer\na\n", ":2: 1 fields, but the header has 2"), (b"prompt\na\n\xff\nb\n", ":3: not UTF-8"),
                                 (b'prompt\na\n"b\nc\n', ":3: a quoted field does not end"), (b'prompt\na\n"b"c\nd\n', ":3: no CSV"), (b"prompt,prompt\na,b\n", 'the column "prompt" comes twice'),
                                 (b"prompt,answer\na,\n", ':2: column "answer" is empty'), (b"text,answer\na,b\n", "there are: text, answer")):
            path.write_bytes(content)
            self.refused(path, problem)
        path = self.path / "data.tsv"
        path.write_text('messages\tanswer\n"[{""role"": ""user"", ""content"": ""u""}]"\t4\n')
        self.prepare(path)
        self.assertEqual(self.records[0]["prompt"], USER % "u" + ASSISTANT)

    def test_bad_records_are_named_and_nothing_is_lost(self):
        self.out.write_text("an earlier file")
        for line, problem in ((b'{"prompt": "\xff"}', "not UTF-8"), (b'{"prompt": "\0"}', "NUL"), (b"{", "no JSON"), (b"", "an empty line"),
                              (b'{"prompt": ""}', "is empty"), (b'{"prompt": " "}', "is empty"), (b'{"answer": "1"}', "is missing"),
                              (b'{"prompt": "x", "answer": ""}', '"answer" is empty'), (b'{"prompt": "x", "answer": null}', '"answer" is missing'),
                              (b'{"prompt": "x", "answer": [1]}', "must be a text or a number"), (b'{"prompt": "x", "answer": true}', "must be"),
                              (b'{"prompt": "x", "answer": "1", "id": "a"}', 'id "a" was already used in line 1'),
                              (b'{"prompt": "x", "prompt": "y", "answer": "1"}', "comes twice"), (b'{"prompt": 3, "answer": "1"}', "must be a text"),
                              (b'{"prompt": "\\ud800", "answer": "1"}', "surrogate"), (b'{"prompt": "x", "answer": NaN}', "NaN"),
                              (b"[" * 100000, "nested too deeply")):
            data = self.lines({"prompt": "p", "answer": "1", "id": "a"}, line, {"prompt": "q", "answer": "1"})
            self.refused(data, f"{data}:2: ", problem, "1 of 3 records refused", "nothing was written")
            self.assertEqual(self.out.read_text(), "an earlier file")
            self.prepare(data, "--on-bad-record", "skip")
            self.assertEqual([record["line"] for record in self.records], [1, 3], line)
            self.out.write_text("an earlier file")

    def test_columns_that_begin_late_are_columns(self):
        early = [{"prompt": f"{i}"} for i in range(150)]
        self.prepare(self.lines(*early, {"prompt": "x", "system": "late"}))
        self.assertEqual(self.records[-1]["prompt"], "<|im_start|>system\nlate<|im_end|>\n" + USER % "x" + ASSISTANT)
        self.prepare(self.lines(*early, {"prompt": "x", "own": "late"}), "--system-field", "own")
        self.assertIn("late", self.records[-1]["prompt"])
        self.refused(self.lines(*early, {"prompt": "x", "id": 7}, {"prompt": "y", "id": 7}), ':152: id "7" was already used in line 151')
        self.refused(self.lines(*early, {"prompt": "x", "answer": "7"}), ':1: column "answer" is missing', "150 of 151 records")

    def test_a_file_without_a_usable_record_says_what_is_wrong_with_the_first(self):
        data = self.lines(b"prompt: a", b"prompt: b", name="data.json")
        self.refused(data, f"{data}:1: no JSON", "no record of the file can be used")

    def test_many_bad_records_are_counted_by_reason(self):
        said = self.refused(self.lines({"prompt": "a", "answer": "1"}, *({"prompt": f"{i}", "answer": ""} for i in range(50))),
                            "50 of 51 records refused", ":2: ", ":21: ", "and 30 more")
        self.assertNotIn(":22: ", said)
        self.assertRegex(said, r'50  column "answer" is empty')

    def test_what_cannot_be_done_is_said(self):
        data = self.lines({"text": "a", "label": 1})
        compressed = self.path / "data.jsonl.gz"
        compressed.write_bytes(gzip.compress(b"{}"))
        for arguments, problem in (((data,), "name the prompt's with --prompt-field; there are: text, label"),
                                   ((data, "--prompt-field", "q"), 'no column "q" (--prompt-field); there are: text, label'),
                                   ((data, "--style", "gsm8k"), 'no column "question", which --style gsm8k has'),
                                   ((data, "--prompt-field", "text", "--kind", "preferences"), "needs columns"),
                                   ((data, "--split", "eval"), "expected NAME=SHARE"), ((data, "--split", "a=0.5", "--split", "b=0.5"), "add up to 1"),
                                   ((data, "--split", "a/b=0.5"), "expected NAME=SHARE"), ((data, "--split", "train=0.5"), "none train"),
                                   ((data, "--split", "a=nan"), "expected NAME=SHARE"), ((data, "--part", "train"), "is a file"),
                                   ((data, "--date", "today"), "--date today"), ((data, "--template-option", "x"), "expected NAME=VALUE"),
                                   ((self.path / "none.jsonl",), "there is no such file"), ((self.path,), "is a directory without"),
                                   ((compressed,), "is compressed"), ((self.lines(name="empty.jsonl"),), "is empty")):
            self.refused(arguments[0], problem, options=arguments[1:])
        self.out = data
        self.refused(data, "is the data itself")


@with_jinja
class Parts(Case):
    def test_splits_and_duplicates(self):
        data = self.lines(*({"prompt": f"question {i % 300}", "answer": str(i % 300)} for i in range(600)))
        said = self.prepare(data, "--split", "eval=0.2", "--split", "test=0.1", "--dedup")
        parts = {name: {record["prompt"] for record in self.written(self.path / name)[1]} for name in ("out.h5", "out.eval.h5", "out.test.h5")}
        self.assertEqual(sum(map(len, parts.values())), 300)
        self.assertEqual(len(set.union(*parts.values())), 300)
        self.assertTrue(35 <= len(parts["out.eval.h5"]) <= 85 and 15 <= len(parts["out.test.h5"]) <= 50, said)
        self.assertIn("left out: 300 the same as a record before: line 301, 302", said)
        self.assertIn("[evaluate]\ndataset = eval", said)
        # The same prompt goes into the same part, whatever the rest of the record is.
        self.prepare(self.lines(*({"prompt": f"question {i}", "completion": "c"} for i in range(299, -1, -1))), "--split", "eval=0.2", "--split", "test=0.1")
        self.assertEqual({record["prompt"] for record in self.records}, parts["out.h5"])

    def test_records_that_differ_in_a_letter_or_in_what_stands_around_are_no_duplicates(self):
        call = lambda name: {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name}}]}
        prompts = ["a", "A", [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
                   *([{"role": "user", "content": "a"}, call(name), {"role": "tool", "content": "1"}] for name in ("f", "g"))]
        (self.path / "t.jinja").write_text("{% for m in messages %}{{ m.role }}:{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }};{% endfor %}")
        said = self.prepare(self.lines(*({"prompt": prompt, "id": i} for i, prompt in enumerate(prompts + prompts[:1]))), "--dedup", "--template", self.path / "t.jinja")
        self.assertEqual([record["line"] for record in self.records], [1, 2, 3, 4, 5])
        self.assertIn("left out: 1 the same as a record before: line 6", said)

    def test_several_kinds_are_made_of_the_same_records_with_the_same_split(self):
        data = self.lines(*({"question": f"q{i}", "answer": f"{i}=<<{i}>> #### {i}"} for i in range(100)))
        said = self.prepare(data, "--kind", "completions,prompts", "--split", "test=0.2")
        of = {name: self.written(self.path / f"out.{name}.h5")[1] for name in ("completions", "completions.test", "prompts", "prompts.test")}
        self.assertIn("kind completions", said)
        self.assertIn("kind prompts", said)
        for part in ("", ".test"):
            self.assertEqual([record["prompt"] for record in of[f"completions{part}"]], [record["prompt"] for record in of[f"prompts{part}"]])
        self.assertEqual(of["prompts"][0]["answer"], of["completions"][0]["completion"].split()[-1])

    def test_of_several_kinds_all_are_written_or_none(self):
        data = self.lines({"question": "q", "answer": "1 #### 1"}, {"question": "r", "answer": "1 ####"})
        self.refused(data, "nothing was written", options=("--kind", "completions,prompts", "--style", "gsm8k"))
        self.assertEqual(list(self.path.glob("out*")), [])

    def test_kinds_are_named_once_each(self):
        for kinds in ("prompts,prompts", "auto,prompts", "promts"):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
                self.prepare(self.lines({"prompt": "q", "answer": "1"}), "--kind", kinds)

    def test_the_lines_for_the_configuration_are_written_too(self):
        data = self.lines(*({"question": f"q{i}", "answer": f"#### {i}"} for i in range(50)))
        self.prepare(data, "--split", "test=0.2", "--config")
        written = (self.path / "out.cfg").read_text()
        self.assertIn("[dataset.train]\npath = out.h5\nkind = prompts\n\n[dataset.test]\npath = out.test.h5\n", written)
        self.assertIn("\n[evaluate]\ndataset = test\nmatch = math\n", written)

    def test_paths_are_written_as_configurations_take_them(self):
        from prepare.report import quoted_if_needed
        for path, text in (("/a b/c.h5", "/a b/c.h5"), ("/a#b", "/a#b"), ("/a #b/c", '"/a #b/c"'), ('/a "b" ;c', '"/a ""b"" ;c"')):
            self.assertEqual(quoted_if_needed(path), text)

    def test_what_is_held_out_is_not_trained_on(self):
        data = self.lines(*({"prompt": f"q{i}", "answer": "1"} for i in range(50)))
        said = self.prepare(data, "--split", "eval=0.1", "--split", "test=0.05")
        sections = {section.split("]")[0]: section for section in said.split("== lines for the configuration")[1].split("[dataset.")[1:]}
        self.assertEqual({name: "\nuse = evaluate\n" in section for name, section in sections.items()}, {"train": False, "eval": True, "test": True})

    def test_rewards_of_final_answers_compare_as_the_evaluation_does(self):
        data = self.lines({"question": "q", "answer": "so #### 4"}, {"question": "r", "answer": "so #### 5"})
        self.assertIn("\n[call.reward]\nmatch = math\n", self.prepare(data))
        self.assertNotIn("[call.reward]", self.prepare(data, "--kind", "completions", "--style", "gsm8k"))
        self.assertNotIn("[call.reward]", self.prepare(self.lines({"prompt": "q", "answer": "4"})))

    def test_prompts_of_evaluation_sets_are_left_out(self):
        data = self.lines({"prompt": "What  is\n2+2?", "answer": "4"}, {"prompt": "other", "answer": "1"},
                          {"prompt": [{"role": "user", "content": "B"}], "answer": "3"})
        evaluation = self.lines({"question": "what is 2+2?", "answer": "#### 4"}, {"question": "b", "answer": "#### 4"}, name="eval.jsonl")
        said = self.prepare(data, "--against", evaluation)
        self.assertEqual([record["line"] for record in self.records], [2])
        self.assertIn("left out: 2 found in eval.jsonl: line 1, 3", said)
        # Only prompts are compared: an evaluation set may keep its answers to itself.
        evaluation = self.lines({"prompt": "other", "answer": None}, name="eval.jsonl")
        self.assertIn("left out: 1 found in eval.jsonl: line 2", self.prepare(data, "--against", evaluation))
        self.refused(data, "eval.jsonl:2: ", options=("--against", self.lines({"prompt": "a"}, {"x": 1}, name="eval.jsonl")))
        self.refused(self.lines({"prompt": "a"}), "would have no record", "found in eval.jsonl", options=("--against", self.lines({"prompt": "a"}, name="eval.jsonl")))

    def test_the_report(self):
        data = self.lines(*({"prompt": "x" * (10 + i), "answer": "1"} for i in range(100)), {"prompt": "y" * 3000, "answer": "1/2"})
        said = self.prepare(data, "--max-prompt-tokens", "3100")
        self.assertEqual(said.count(f"== {data}:"), 5)
        self.assertIn(f"{self.out}: 101 prompts of 101 records", said)
        overhead = len("user\n" + "\n" + "assistant\n") + 3
        mean = (sum(range(10, 110)) + 3000) / 101 + overhead
        self.assertRegex(said, rf"prompt +{mean:.1f} +{108 + 1 + overhead} +{3000 + overhead:,}")
        self.assertIn("101, of which 100 are integers; rule_reward's match = numeric never accepts the others", said)
        self.assertIn(f"[dataset.train]\npath = {self.out.resolve()}\nkind = prompts\nmax_prompt_tokens = {3000 + overhead}\nmax_tokens = ", said)
        self.assertIn("no add_bos", said)
        self.refused(data, ":101: the prompt has ", options=("--max-prompt-tokens", "200"))

    def test_progress(self):
        data = self.lines(*({"prompt": f"{i}"} for i in range(3000)))
        with mock.patch.object(tokens, "BLOCK_BYTES", 1000), mock.patch.object(program.Progress, "show") as show:
            self.prepare(data)
        self.assertEqual(len(self.records), 3000)
        ats = [call.args[0] for call in show.call_args_list]
        self.assertTrue(len(ats) > 50 and ats == sorted(ats) and ats[-1] == data.stat().st_size, ats[-3:])


class WithoutPackages(unittest.TestCase):
    def run_isolated(self, *arguments):
        return subprocess.run([sys.executable, "-I", "-S", ROOT / "tools/prepare_data.py", *arguments], capture_output=True, text=True)

    def test_help_names_the_options_and_what_is_needed(self):
        result = self.run_isolated("--help")
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in ("--style", "--against", "--template-option", "pip install tokenizers h5py jinja2", "pyarrow"):
            self.assertIn(part, result.stdout)

    def test_missing_packages_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "a.jsonl").write_text('{"prompt": "x"}\n')
            (path / "a.parquet").write_bytes(b"PAR1")
            (path / "tokenizer_config.json").write_text('{"chat_template": "x"}')
            for name, option, package in (("a.jsonl", "--no-template", "tokenizers h5py"), ("a.jsonl", "--quiet", "jinja2"), ("a.parquet", "--quiet", "pyarrow")):
                result = self.run_isolated(path / name, path / "out.h5", "--model", path, option)
                self.assertEqual(result.returncode, 2)
                self.assertIn(f"pip install {package}", result.stderr)
                self.assertFalse((path / "out.h5").exists())

    def test_boxed(self):
        for text, answer in (("\\boxed{a{b}c}", "a{b}c"), ("\\boxed{1} \\fbox{2}", "2"), ("none", None), ("\\boxed{1", None), ("\\boxed 5$ x", "5"), ("\\boxed{}", "")):
            self.assertEqual(styles.boxed(text), answer, text)

    def test_memory_of_lengths_is_of_the_different_ones(self):
        from prepare.report import Lengths
        lengths = Lengths()
        for i in range(1000):
            lengths.add(i % 100 + 1)
        self.assertEqual((lengths.summary(), len(lengths.counts)), ((50.5, 99, 100), 100))


@with_arrow
@with_jinja
class ArrowSources(Case):
    def table(self, **columns):
        import pyarrow
        return pyarrow.table(columns)

    def parquet(self, table, name="data.parquet", **options):
        import pyarrow.parquet
        pyarrow.parquet.write_table(table, self.path / name, **options)
        return self.path / name

    def test_parquet(self):
        import pyarrow
        messages = [[{"role": "user", "content": f"q{i}", "name": None}] for i in range(5)]
        table = self.table(prompt=messages, answer=pyarrow.array([0.1, 2, 3.5, 4, 5], pyarrow.float32()), level=[1, 2, None, 4, 5])
        self.prepare(self.parquet(table, row_group_size=2))
        self.assertEqual([record["prompt"] for record in self.records], [USER % f"q{i}" + ASSISTANT for i in range(5)])
        self.assertEqual([record["answer"] for record in self.records], ["0.1", "2.0", "3.5", "4.0", "5.0"])
        self.assertEqual([record["fields"] for record in self.records[1:3]], ['{"level":2}', ""])

    def test_a_directory_of_parquet_has_the_parts_that_its_names_say(self):
        hub = self.path / "hub/main"
        hub.mkdir(parents=True)
        for name, n in (("train-00000-of-00002", 2), ("train-00001-of-00002", 1), ("test-00000-of-00001", 1)):
            self.parquet(self.table(prompt=[f"{name} {i}" for i in range(n)]), f"hub/main/{name}.parquet")
        self.refused(hub, f"{hub} has the parts test, train: choose one with --part")
        self.refused(hub, 'none that is called "dev"', options=("--part", "dev"))
        self.refused(hub.parent, "name one of its folders that have some: main")
        self.refused(self.lines({"prompt": "a"}), "has the parts test, train: name the folder or the file of one", options=("--against", hub))
        said = self.prepare(hub, "--part", "train")
        self.assertEqual(len(self.records), 3)
        self.assertIn("files that were read: train-00000-of-00002.parquet, train-00001-of-00002.parquet\n", said)

    def test_shards_without_a_part_in_their_names_are_one_table(self):
        shards = self.path / "shards"
        shards.mkdir()
        for i in range(2):
            self.parquet(self.table(prompt=[f"a{i}"]), f"shards/part-{i:05}-ab.snappy.parquet")
        self.prepare(shards)
        self.assertEqual(len(self.records), 2)
        self.refused(shards, "has no parts", options=("--part", "train"))

    def test_what_parquet_cannot_be(self):
        import pyarrow
        path = self.parquet(self.table(prompt=[{"text": "a"}], answer=["1"]))
        self.refused(path, f'{path}: the column "prompt" is nested (struct<text: string>)')
        path = self.parquet(self.table(prompt=["a"], answer=[["1"]]))
        self.refused(path, f'{path}: the column "answer" is nested')
        path = self.parquet(self.table(text=["a"], label=["1"]))
        self.refused(path, "there are: text, label")
        path = self.parquet(self.table(prompt=["a", "b", None], answer=["1", "", "2"]))
        self.refused(path, f'{path}, row 2: column "answer" is empty', f'{path}, row 3: column "prompt" is missing')
        bad = pyarrow.array([b"ok", b"\xff", b"fine"], pyarrow.binary()).view(pyarrow.string())
        path = self.parquet(self.table(prompt=bad))
        self.refused(path, f"{path}, row 2: ", "not UTF-8", "1 of 3 records")
        path.write_bytes(path.read_bytes()[:-10])
        self.refused(path, str(path))

    def test_a_directory_of_datasets(self):
        import pyarrow.ipc
        for part in ("train", "test"):
            folder = self.path / "saved" / part
            folder.mkdir(parents=True)
            for i in range(2):
                table = self.table(prompt=[f"{part}{i}{j}" for j in range(3)])
                with pyarrow.ipc.new_stream(str(folder / f"data-{i}.arrow"), table.schema) as stream:
                    stream.write_table(table, max_chunksize=2)
            (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": f"data-{i}.arrow"} for i in range(2)]}))
        (self.path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        self.refused(self.path / "saved", "has the parts train, test: choose one with --part")
        self.refused(self.path / "saved", 'none that is called "dev"', options=("--part", "dev"))
        self.prepare(self.path / "saved", "--part", "test")
        self.assertEqual([record["prompt"] for record in self.records], [USER % f"test{i}{j}" + ASSISTANT for i in range(2) for j in range(3)])
        self.prepare(self.path / "saved/train")
        self.assertEqual(len(self.records), 6)
        (self.path / "saved/train/data-1.arrow").unlink()
        self.refused(self.path / "saved/train", "data-1.arrow: there is no such file")


@with_writer
class Files(Case):
    def setUp(self):
        super().setUp()
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
        alphabet = sorted(tokens.byte_alphabet())
        tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
        # Texts begin with a mark; what a template renders does not.
        tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 256)])
        tokenizer.save(str(self.model / "tokenizer.json"))
        self.tokenizer = tokenizer

    def tool(self, *arguments):
        return subprocess.run([sys.executable, ROOT / "tools/prepare_data.py", *map(str, arguments), "--model", self.model],
                              capture_output=True, text=True)

    def column(self, name, path=None):
        import h5py
        with h5py.File(path or self.out) as file:
            ends = file[f"{name}/offsets"][:]
            return [file[f"{name}/values"][a:b].tolist() for a, b in zip(ends, ends[1:])]

    def test_prompts_are_the_tokens_of_the_rendered_text(self):
        result = self.tool(self.lines({"prompt": "caf\u00e9 2+2=", "answer": 4}, {"prompt": "b <|im_end|>", "answer": "x"}), self.out)
        self.assertEqual(result.returncode, 0, result.stderr)
        expected = [self.tokenizer.encode(USER % text + ASSISTANT, add_special_tokens=False).ids for text in ("caf\u00e9 2+2=", "b <|im_end|>")]
        self.assertEqual(self.column("prompt"), expected)
        self.assertEqual([bytes(answer) for answer in self.column("answer")], [b"4", b"x"])
        again = self.tool(self.lines({"prompt": "caf\u00e9 2+2=", "answer": 4}, {"prompt": "c", "answer": 5}), self.path / "new.h5", "--against", self.out)
        self.assertIn("left out: 1 found in out.h5: line 1", again.stdout, again.stderr)
        self.assertEqual(len(self.column("prompt", self.path / "new.h5")), 1)

    def metaspace(self):
        """A tokenizer that begins a text alone with a mark, and spaces are that mark."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace(prepend_scheme="first")
        tokenizer.train_from_iterator(["four and four are eight\n"] * 20 + ["user assistant"], trainers.BpeTrainer(
            special_tokens=["<unk>", *MARKS], show_progress=False, min_frequency=2))
        tokenizer.save(str(self.model / "tokenizer.json"))
        return tokenizer

    def test_answers_are_tokenised_as_they_stand_behind_their_prompts(self):
        tokenizer = self.metaspace()
        result = self.tool(self.lines({"prompt": "four and", "completion": "eight four"}), self.out)
        self.assertEqual(result.returncode, 0, result.stderr)
        whole = tokenizer.encode(USER % "four and" + ASSISTANT + "eight four").ids
        self.assertEqual(self.column("prompt")[0] + self.column("completion")[0], whole)
        self.assertNotEqual(self.column("completion")[0], tokenizer.encode("eight four").ids)

    def test_an_answer_that_would_share_a_token_with_its_prompt_is_tokenised_apart(self):
        tokenizer = self.metaspace()
        result = self.tool(self.lines({"prompt": "four ", "completion": "eight"}), self.out, "--no-template")
        self.assertIn("1 answers would share a token", result.stdout, result.stderr)
        self.assertEqual(self.column("prompt")[0], tokenizer.encode("four ").ids)
        self.assertEqual("".join(map(tokenizer.id_to_token, self.column("completion")[0])), "eight")

    def test_the_program_takes_file_and_lines(self):
        if ORRERY is None:
            self.skipTest("no program was named")
        records = {"prompts": [{"prompt": f"{i}+1=", "answer": i + 1} for i in range(100)],
                   "completions": [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(100)],
                   "preferences": [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": "x"} for i in range(100)]}
        records["final answers"] = [{"question": f"{i}+1=", "answer": f"#### {i + 1}"} for i in range(100)]
        folder = self.path / 'my "data" #1'
        folder.mkdir()
        for kind, graph in (("prompts", "grpo"), ("final answers", "grpo"), ("completions", "sft"), ("preferences", "dpo")):
            result = self.tool(self.lines(*records[kind]), folder / "out.h5", "--split", "eval=0.1", "--split", "test=0.05")
            self.assertEqual(result.returncode, 0, result.stderr)
            lines = result.stdout.split("== lines for the configuration\n")[1]
            models = "".join(f"[model.{role}]\nvocab_size = 259\n" for role in ("actor", "ref") if role == "actor" or graph != "sft")
            config = self.path / "run.cfg"
            config.write_text(f"include = {ROOT}/configs/graphs/{graph}.cfg\n[experiment]\nname = x\ntotal_steps = 1\n{models}\n{lines}")
            plan = subprocess.run([ORRERY, "plan", config, "--workers", "1"], capture_output=True, text=True)
            self.assertEqual(plan.returncode, 0, plan.stdout + plan.stderr)


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    for test, reason in result.skipped:
        print(f"prepare_data_test.py: {test.id()}: skipped: {reason}")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
