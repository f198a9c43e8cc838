"""The chat template of a model's directory, rendered as apply_chat_template of transformers 5 does:
tests/fixtures/chat has renderings that it gave (tools/golden/chat_templates.py)."""
import datetime
import json

from .problem import BadRecord, Problem

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
REASONING = ("reasoning_content", "thinking", "reasoning")
SAFE_JINJA = (3, 1, 6)  # sandboxes before it have known ways out


def jinja():
    try:
        import jinja2
        import jinja2.ext
        import jinja2.sandbox
    except ImportError:
        raise Problem("chat templates need the Python package jinja2: pip install jinja2")
    return jinja2


def environment(now):
    """The environment that templates are written for."""
    jinja2 = jinja()

    class Generation(jinja2.ext.Extension):
        """{% generation %} ... {% endgeneration %} marks what an assistant says, and changes nothing."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    class Names(jinja2.utils.Namespace):
        def __setitem__(self, name, value):
            refuse_private(name)
            super().__setitem__(name, value)

    def namespace(*args, **kwargs):
        for name in dict(*args, **kwargs):
            refuse_private(name)
        return Names(*args, **kwargs)

    def refuse_private(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        # Jinja's own filter writes <, >, & and ' in another way, for web pages.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    result = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    result.filters["tojson"] = tojson
    result.globals.update(raise_exception=raise_exception, namespace=namespace,
                          strftime_now=lambda format: (now or datetime.datetime.now()).strftime(format))
    return result


def json_file(path):
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problem(f"{path}: {error}")
    return content if isinstance(content, dict) else {}


def templates_of(folder):
    """Templates by name, "default" or others; where the first is."""
    found, at = {}, folder / "chat_template.jinja"
    if at.is_file():
        found["default"] = at
    for path in sorted((folder / "chat_templates").glob("*.jinja")):
        found[path.stem] = path
    if found:
        try:
            return {name: path.read_text(encoding="utf-8") for name, path in found.items()}, next(iter(found.values()))
        except UnicodeDecodeError as error:
            raise Problem(f"{at}: not UTF-8: {error}")
    at = folder / "tokenizer_config.json"
    stored = json_file(at).get("chat_template")
    if isinstance(stored, list):
        stored = {entry.get("name"): entry.get("template") for entry in stored if isinstance(entry, dict)}
    return ({"default": stored} if isinstance(stored, str) else stored or {}), at


def special_tokens_of(folder):
    """Special tokens by their names, as templates see them: bos_token and the like, and those of this model alone."""
    result = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json_file(folder / name)
        own = content.get("extra_special_tokens")
        named = {key: token for key, token in content.items() if key in SPECIAL_TOKENS} | (own if isinstance(own, dict) else {})
        for key, token in named.items():
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                result.setdefault(key, token)
    return result


class ChatTemplate:
    """Renders messages. `options`: variables that the template has besides, such as enable_thinking;
    `now`: the time that it sees, the present one where there is none."""

    def __init__(self, templates, where, special_tokens=None, options=None, now=None):
        self.where, self.variables = where, {**(special_tokens or {}), **(options or {})}
        jinja2, self.compiled = jinja(), {}
        own = environment(now)
        for name, text in templates.items():
            try:
                self.compiled[name] = own.from_string(text)
            except jinja2.exceptions.TemplateSyntaxError as error:
                raise Problem(f"{where}: the chat template cannot be rendered: line {error.lineno}: {error.message}")

    @staticmethod
    def of(folder, file=None, name=None, options=None, now=None):
        """The template of a model's directory, or of a file; None where there is none."""
        if file is not None:
            try:
                templates, where = {"default": file.read_text(encoding="utf-8")}, file
            except (OSError, UnicodeDecodeError) as error:
                raise Problem(f"{file}: {error}")
        else:
            templates, where = templates_of(folder)
        if name is not None:
            if name not in templates:
                raise Problem(f'{where}: there is no chat template "{name}"; there are: {", ".join(templates) or "none"}')
            templates = {"default": templates[name]}
        if not templates:
            return None
        return ChatTemplate(templates, where, special_tokens_of(folder), options, now)

    def chosen(self, tools):
        name = "tool_use" if tools is not None and "tool_use" in self.compiled else "default"
        if name not in self.compiled:
            raise Problem(f"{self.where} has no default chat template: choose one with --template-name: {', '.join(self.compiled)}")
        return self.compiled[name]

    def render(self, messages, *, generation_prompt, tools=None):
        """The text, or BadRecord with what the template says."""
        compiled = self.chosen(tools)
        try:
            return compiled.render(messages=[as_templates_see(message) for message in messages], tools=tools,
                                   documents=None, add_generation_prompt=generation_prompt, **self.variables)
        except RecursionError:
            raise BadRecord("the chat template: nested too deeply")
        except Exception as error:  # a template is a program: it can fail in any way
            raise BadRecord(f"the chat template: {error}")


def as_templates_see(message):
    """Without fields that are null; reasoning under all the names that it has had."""
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[key] for key in REASONING if key in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def warn_of_old_jinja(warn):
    version = jinja().__version__
    parts = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if parts < SAFE_JINJA:
        warn(f"jinja2 {version} runs chat templates in a sandbox with known ways out, unless your system has mended it: "
             "use templates that you trust, or pip install -U jinja2")
