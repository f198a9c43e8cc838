#!/usr/bin/env python3
"""What transformers renders of tests/fixtures/chat/conversations.json with each template there.

    tools/golden/chat_templates.py tests/fixtures/chat

Every folder of it is a model's directory without weights and vocabulary: tokenizer_config.json, and
chat_template.jinja where the former has no template. Writes expected.json beside them:
{folder: {conversation: {"prompt": text with a generation prompt, "whole": text without}}}, where a
template that raises an error has {"error": what it says}. The templates are our own, of the
structure of the well-known ones.
cost: seconds; needs: pip install transformers tokenizers jinja2 (transformers 5.24)
"""
import datetime
import json
import pathlib
import shutil
import sys
import tempfile

import jinja2
import tokenizers
import transformers
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 1, 31, 12)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def tokenizer_of(folder, scratch):
    """The folder as a model that transformers loads: any vocabulary does, for only text is rendered."""
    copy = pathlib.Path(scratch) / folder.name
    shutil.copytree(folder, copy)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.save(str(copy / "tokenizer.json"))
    return transformers.PreTrainedTokenizerFast.from_pretrained(copy)


def rendered(tokenizer, conversation, generation_prompt):
    return tokenizer.apply_chat_template(conversation["messages"], tools=conversation.get("tools"), tokenize=False,
                                         add_generation_prompt=generation_prompt, **conversation.get("options", {}))


def main():
    root = pathlib.Path(sys.argv[1])
    conversations = json.loads((root / "conversations.json").read_text(encoding="utf-8"))
    chat_template_utils.datetime = Clock
    expected = {}
    with tempfile.TemporaryDirectory() as scratch:
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            tokenizer = tokenizer_of(folder, scratch)
            of_folder = expected[folder.name] = {}
            for name, conversation in conversations.items():
                try:
                    of_folder[name] = {"prompt": rendered(tokenizer, conversation, True),
                                       "whole": rendered(tokenizer, conversation, False)}
                except (jinja2.exceptions.TemplateError, TypeError) as error:
                    of_folder[name] = {"error": str(error)}
    text = json.dumps({"transformers": transformers.__version__, "now": NOW.isoformat(), "expected": expected},
                      indent=1, ensure_ascii=False)
    (root / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
