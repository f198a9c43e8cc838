"""What the columns of a record mean: which style of data it is, and what is prompt and answer."""
import json
import re

from .problem import BadRecord, Problem, tokens
from .readers import Arrow

STYLES = ("auto", "plain", "gsm8k", "math", "preferences")
KINDS = {"prompts": ("prompt",), "completions": ("prompt", "completion"), "preferences": ("prompt", "chosen", "rejected")}
SAMPLES = 100  # records that a style is recognised by
MINORITY = 0.25  # share of them that may be otherwise
PARTS = ("prompt", "answer", "completion", "chosen", "rejected", "system", "tools", "id")

# Where a part is looked for when its column is not named.
MESSAGE_COLUMNS = ("messages", "conversations", "conversation")
PROMPT_COLUMNS = ("prompt", *MESSAGE_COLUMNS, "question", "problem")
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "environment", "observation", "context", "document")
OTHER_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "function_call": "assistant"}  # of `from`
WRITTEN_BY_PYTHON = re.compile(r"\[\s*\{\s*'(role|content|from|value)'\s*:")


def written(value, column):
    """A text, or a number as it stands in the data; "" where there is none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) and not is_decimal(value):
        raise BadRecord(f'column "{column}" must be a text or a number, got {shown(value)}')
    return value if isinstance(value, str) else getattr(value, "text", None) or str(value)


def is_decimal(value):
    return type(value).__name__ == "Decimal"


def shown(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def boxed(text):
    """What stands in the last \\boxed{...} or \\fbox{...}; None where there is none that ends."""
    begin = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if begin < 0:
        return None
    at = begin + (len("\\boxed") if text.startswith("\\boxed", begin) else len("\\fbox"))
    if text[at:at + 1] == " ":
        return re.split(r"[$\s]", text[at + 1:], maxsplit=1)[0] or None
    if text[at:at + 1] != "{":
        return None
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[at + 1:i].strip()
    return None


def message_list(value, column):
    """Messages of a column: a list, or JSON text of one (CSV has no lists)."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRecord(f'column "{column}" must be a list of messages; it begins like one (--as-text: it is a text)')
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise BadRecord(f'column "{column}" must be a text or a list of messages {{role, content}}, got {shown(value)}')
    if not value:
        raise BadRecord(f'column "{column}" has no messages')
    result = []
    for i, message in enumerate(value):
        if "role" not in message and isinstance(message.get("from"), str):  # another form of the same
            role = OTHER_ROLES.get(message["from"], message["from"])
            message = {"role": role, "content": message.get("value")}
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise BadRecord(f'column "{column}": message {i + 1} has no role')
        if message["role"] not in ROLES:
            raise BadRecord(f'column "{column}": message {i + 1} has the role "{message["role"]}", and there are {", ".join(ROLES)}: '
                            "rename it (what the model says is the assistant's)")
        result.append(message)
    return result


def looks_like_messages(value, column):
    if isinstance(value, str) and WRITTEN_BY_PYTHON.match(value):
        raise BadRecord(f'column "{column}" has messages as Python prints them ({value[:20]}...): write them as JSON, with json.dumps, or '
                        "say that they are texts with --as-text")
    return isinstance(value, (list, dict)) or (isinstance(value, str) and re.match(r'\[\s*\{\s*"(role|content|from)"\s*:', value) is not None)


def turns(text):
    """Messages of a text of "\\n\\nHuman: ... \\n\\nAssistant: ..."; None if it is none."""
    if not text.lstrip("\n").startswith("Human:"):
        return None
    parts = re.split(r"(?:^|\n\n)(Human|Assistant):", text.strip("\n"))[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[role], "content": content.strip()} for role, content in zip(parts[::2], parts[1::2])]


class Item:
    """What a record is: messages (or, without a chat template, text) and the parts to learn or compare with."""

    def __init__(self, messages, tools=None):
        self.messages, self.tools = messages, tools
        self.answer, self.replies, self.fields = "", {}, ""


class Layout:
    """Which column is what, for the records of one source."""

    def __init__(self, source, args):
        self.source, self.system, self.as_text = source, args.system, args.as_text
        self.columns, self.samples = source.overview(SAMPLES)
        self.names = {part: getattr(args, f"{part}_field") for part in PARTS}
        for part, name in self.names.items():
            if name and name not in self.columns:
                raise Problem(f'{source.path}: there is no column "{name}" (--{part}-field); there are: {", ".join(self.columns) or "none"}')
        self.style = self.recognised() if args.style == "auto" else args.style
        self.settle(args)
        self.kind = args.kind if args.kind != "auto" else self.usual_kind()
        self.check()
        self.n_separators = 0  # answers whose thousands were separated
        self.used = {name for name in self.names.values() if name} - {self.names["id"]}

    def has(self, *names):
        return all(name in self.columns for name in names)

    def is_messages(self, value, column):
        """Whether a value is messages, or JSON text of them; with --as-text a text is a text."""
        return not (self.as_text and isinstance(value, str)) and looks_like_messages(value, column)

    def ends_with_answer(self, value):
        try:
            return self.is_messages(value, "") and message_list(value, "")[-1]["role"] == "assistant"
        except BadRecord:
            return False

    def share(self, name, is_so):
        """Of the samples that have the column: a bad record among them decides nothing, it is refused by name later."""
        found = [is_so(values[name]) for values in self.samples if values.get(name) not in (None, "")]
        return sum(found) / len(found) if found else 0

    def recognised(self):
        if self.has("chosen", "rejected"):
            return "preferences"
        for style, prompt, solution, mark in (("gsm8k", "question", "answer", "####"), ("math", "problem", "solution", "\\boxed")):
            share = self.share(solution, lambda text: isinstance(text, str) and mark in text) if self.has(prompt, solution) else 0
            if share >= 1 - MINORITY:
                return style
            if share > MINORITY:
                raise Problem(f'{self.source.path}: {share:.0%} of the first records have "{mark}" in the column "{solution}": say what they '
                              f"are with --style {style} or --style plain")
        return "plain"

    def settle(self, args):
        """Names for the parts that the options do not name."""
        names = self.names
        own = {"gsm8k": {"prompt": "question", "answer": "answer"}, "math": {"prompt": "problem", "completion": "solution"},
               "preferences": {"chosen": "chosen", "rejected": "rejected"}}.get(self.style, {})
        for part, name in own.items():
            if names[part] is None:
                if name not in self.columns:
                    raise Problem(f'{self.source.path}: there is no column "{name}", which --style {self.style} has (--{part}-field names '
                                  f'another); there are: {", ".join(self.columns) or "none"}')
                names[part] = name
        if names["prompt"] is None:
            names["prompt"] = next((name for name in self.prompt_columns(args.kind) if name in self.columns), None)
        if names["prompt"] is None and self.style != "preferences":
            raise Problem(f"{self.source.path}: there is no column {', '.join(PROMPT_COLUMNS)}: name the prompt's with --prompt-field; "
                          f'there are: {", ".join(self.columns) or "none"}')
        for part in ("answer", "completion", "system", "tools", "id"):
            if names[part] is None and part in self.columns and part not in own:
                names[part] = part

    def prompt_columns(self, kind):
        """Beside messages that have the answer, a prompt alone is only their beginning."""
        has_answer = any(self.names[part] or part in self.columns for part in ("answer", "completion"))
        return PROMPT_COLUMNS if has_answer or kind == "prompts" or self.style == "preferences" else (*MESSAGE_COLUMNS, *PROMPT_COLUMNS)

    def usual_kind(self):
        if self.style != "plain":
            return "preferences" if self.style == "preferences" else "prompts"
        if self.names["completion"]:
            return "completions"
        if self.names["answer"] is None and self.share(self.names["prompt"], self.ends_with_answer) > 0.5:
            return "completions"
        return "prompts"

    def check(self):
        names = self.names
        if self.kind == "preferences" and not (names["chosen"] and names["rejected"]):
            raise Problem(f'{self.source.path}: --kind preferences needs columns "chosen" and "rejected", or --chosen-field and '
                          f'--rejected-field; there are: {", ".join(self.columns)}')
        if self.kind != "preferences" and self.style == "preferences":
            raise Problem(f"{self.source.path}: records with a better and a worse answer are --kind preferences; as {self.kind} they "
                          "need --style plain")
        if self.kind == "completions" and self.columns.get("label"):
            raise Problem(f'{self.source.path}: the column "label" (true, false) says which answers are good, and completions would learn '
                          "the bad ones too: a data set of kind = labelled takes prompt, completion and label as JSON lines (docs/data.md); "
                          "to learn the good ones alone, leave out the others and the column")
        if self.kind != "prompts" and self.style == "plain":
            names["answer"] = None  # nothing compares with it
        if self.kind != "completions" and self.style == "plain":
            names["completion"] = None
        if self.kind != "preferences":
            names["chosen"] = names["rejected"] = None
        if isinstance(self.source, Arrow):
            for part, name in names.items():
                nested, type = self.source.type_of(name) if name else (None, "")
                takes_messages = part in ("prompt", "completion", "chosen", "rejected", "tools") and nested == "list of objects"
                if nested and not takes_messages and part != "tools":
                    raise Problem(f'{self.source.path}: the column "{name}" is nested ({type}); the {part} must be a text'
                                  + (" or a list of messages" if part not in ("id", "answer", "system") else " or a number")
                                  + ": put the part that is meant into a column of its own")

    def described(self):
        used = [f"{part} = {name}" for part, name in self.names.items() if name]
        return f"style {self.style}, kind {self.kind}, columns {', '.join(used)}"

    # One record.

    def item(self, row):
        values, names = row.values, self.names
        tools = self.tools_of(values)
        if self.kind == "preferences":
            item = self.preference(values, tools)
        else:
            prompt = self.required(values, "prompt")
            if self.kind == "completions" and names["completion"] is None and self.style == "plain":
                messages = message_list(prompt, names["prompt"]) if self.is_messages(prompt, names["prompt"]) else None
                if messages is None or messages[-1]["role"] != "assistant" or len(messages) < 2:
                    raise BadRecord(f'column "{names["prompt"]}": expected messages that end with the assistant\'s, or a column '
                                    "of its own for what is to be learned (--completion-field)")
                item = Item(self.conversation(messages[:-1], values), tools)
                item.replies["completion"] = messages[-1]
            else:
                item = Item(self.conversation(prompt, values), tools)
                if item.messages[-1]["role"] == "assistant":
                    raise BadRecord(f'column "{names["prompt"]}": the last message is the assistant\'s: --kind completions learns it, '
                                    "a prompt ends before it")
                if self.kind == "completions":
                    item.replies["completion"] = self.reply(values, "answer" if self.style == "gsm8k" else "completion")
                else:
                    item.answer = self.answer(values)
        if self.kind == "prompts":
            item.fields = self.fields(row)
        return item

    def asked(self, row):
        """The messages of the prompt alone, whatever the rest of the record is."""
        if self.kind == "preferences":
            return self.preference(row.values, None).messages
        messages = self.conversation(self.required(row.values, "prompt"), row.values)
        return messages[:-1] if len(messages) > 1 and messages[-1]["role"] == "assistant" else messages

    def required(self, values, part):
        name = self.names[part]
        value = values.get(name)
        if value is None or value != value:  # NaN is how some libraries write that there is none
            raise BadRecord(f'column "{name}" is missing')
        if value == "" or value == [] or (isinstance(value, str) and not value.strip()):
            raise BadRecord(f'column "{name}" is empty')
        return value

    def tools_of(self, values):
        name = self.names["tools"]
        value = values.get(name) if name else None
        if value is None or value == "" or value == []:
            return None
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise BadRecord(f'column "{name}" must be a list of tools (JSON schemas)')
        if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
            raise BadRecord(f'column "{name}" must be a list of tools (JSON schemas), got {shown(value)}')
        return value or None

    def conversation(self, prompt, values):
        """Messages of a prompt that is text or messages, with the record's system message or that of --system."""
        if isinstance(prompt, str) and not self.is_messages(prompt, self.names["prompt"]):
            messages = [{"role": "user", "content": prompt}]
        elif isinstance(prompt, (list, dict, str)):
            messages = message_list(prompt, self.names["prompt"])
        else:
            raise BadRecord(f'column "{self.names["prompt"]}" must be a text or a list of messages, got {shown(prompt)}')
        name = self.names["system"]
        system = written(values.get(name), name) if name else ""
        has_own = messages[0]["role"] in ("system", "developer")
        if system and has_own:
            raise BadRecord(f'column "{name}" has a system message, and so have the messages')
        if not has_own and (system or self.system):
            messages = [{"role": "system", "content": system or self.system}, *messages]
        return messages

    def reply(self, values, part):
        """The assistant's message of a column with text, a number or messages."""
        name = self.names[part]
        if name is None:
            raise BadRecord("no column has what is to be learned (--completion-field)")
        value = self.required(values, part)
        if self.is_messages(value, name):
            messages = message_list([value] if isinstance(value, dict) else value, name)
            if len(messages) != 1 or messages[0]["role"] != "assistant":
                raise BadRecord(f'column "{name}": expected one message, the assistant\'s')
            return messages[0]
        return {"role": "assistant", "content": written(value, name)}

    def answer(self, values):
        name = self.names["answer"]
        if self.style == "math" and (name is None or values.get(name) in (None, "")):
            column = self.names["completion"]
            found = boxed(written(self.required(values, "completion"), column))
            if not found:
                raise BadRecord(f'column "{column}" has no answer in \\boxed{{...}}')
            return found
        if name is None:
            return ""
        text = written(self.required(values, "answer"), name)
        if self.style != "gsm8k":
            return text
        if "####" not in text:
            raise BadRecord(f'column "{name}" has no "####" before the answer')
        text = text.rsplit("####", 1)[1].strip()
        if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
            self.n_separators += 1
            text = text.replace(",", "")
        if not text:
            raise BadRecord(f'column "{name}" has no answer behind "####"')
        return text

    def preference(self, values, tools):
        chosen, rejected = self.required(values, "chosen"), self.required(values, "rejected")
        prompt = values.get(self.names["prompt"]) if self.names["prompt"] else None
        sides = {}
        for part, value in (("chosen", chosen), ("rejected", rejected)):
            name = self.names[part]
            messages = message_list([value] if isinstance(value, dict) else value, name) if self.is_messages(value, name) else None
            if messages is None and prompt in (None, ""):
                messages = turns(written(value, name))
                if messages is None:
                    raise BadRecord('column "prompt" is missing' if self.names["prompt"] is None
                                    else f'column "{self.names["prompt"]}" is missing')
            if messages is None:
                messages = [{"role": "assistant", "content": written(value, name)}]
            if messages[-1]["role"] != "assistant" or not messages[-1].get("content"):
                raise BadRecord(f'column "{name}" does not end with what the assistant says')
            sides[part] = messages
        before = sides["chosen"][:-1], sides["rejected"][:-1]
        if before[0] != before[1]:
            raise BadRecord(f'columns "{self.names["chosen"]}" and "{self.names["rejected"]}" do not begin with the same messages')
        if not before[0] and prompt in (None, ""):
            raise BadRecord("there is no prompt")
        if sides["chosen"][-1] == sides["rejected"][-1]:
            raise BadRecord(f'columns "{self.names["chosen"]}" and "{self.names["rejected"]}" are equal')
        item = Item(self.conversation(before[0] or prompt, values), tools)
        item.replies = {part: messages[-1] for part, messages in sides.items()}
        return item

    def fields(self, row):
        """The other columns as one JSON object, values as they stand there."""
        if row.raw is not None:
            others = [f"{json.dumps(name, ensure_ascii=False)}:{tokens.compact(value)}"
                      for name, value in tokens.raw_fields(row.raw) if name not in self.used]
            return "{" + ",".join(others) + "}" if others else ""
        others = {name: value for name, value in row.values.items() if name not in self.used and value is not None and value == value}
        return json.dumps(others, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=as_text) if others else ""


def as_text(value):
    """Values that JSON lacks, such as times."""
    if isinstance(value, (bytes, bytearray)):
        raise BadRecord("a column of bytes cannot be one of the other fields: leave it out of the file")
    return str(value)
