"""Records as the texts that are tokenised: what stands before an answer, and the answer alone."""
from .chat import ChatTemplate
from .problem import BadRecord

PROBE = "x7q1"  # an answer that no template knows


def text_of(message, what):
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    if not isinstance(content, str) or not content.strip():
        raise BadRecord(f"the {what} is empty")
    return content


class PlainTexts:
    """Without a chat template: the prompt is its text."""

    end = None

    def texts(self, item):
        if len(item.messages) != 1 or item.messages[0]["role"] != "user" or item.tools:
            raise BadRecord("a list of messages, a system message or tools need a chat template, and the model has none (--template FILE)")
        texts = {"prompt": text_of(item.messages[0], "prompt")}
        return {**texts, **{part: text_of(message, part) for part, message in item.replies.items()}}


class ChatTexts:
    """With one: the prompt ends where the assistant begins, the answer where the end token stands."""

    def __init__(self, template: ChatTemplate, tools, plain_answers):
        self.template, self.tools, self.plain_answers = template, tools, plain_answers
        self.end = None  # text of the token that ends an answer
        self.behind = None  # all that stands behind an answer, from that token on

    def behind_answers(self):
        """What the template puts behind an answer; None if it renders no short conversation."""
        try:
            text = self.template.render([{"role": "user", "content": "u"}, {"role": "assistant", "content": PROBE}],
                                        generation_prompt=False)
        except BadRecord:
            return None
        return text[text.rindex(PROBE) + len(PROBE):] if PROBE in text else None

    def texts(self, item):
        tools = item.tools or self.tools
        prompt = self.template.render(item.messages, generation_prompt=True, tools=tools)
        if not prompt:
            raise BadRecord("the chat template gives an empty text")
        return {"prompt": prompt, **{part: self.answer(item, message, prompt, tools, part) for part, message in item.replies.items()}}

    def answer(self, item, message, prompt, tools, part):
        if not message.get("tool_calls"):
            plain = text_of(message, part)
            if self.plain_answers:
                return plain
        whole = self.template.render([*item.messages, message], generation_prompt=False, tools=tools)
        if not whole.startswith(prompt):
            at = next((i for i, (a, b) in enumerate(zip(whole, prompt)) if a != b), len(whole))
            raise BadRecord(f"the chat template renders the prompt otherwise when the {part} stands behind it: {whole[at:at + 40]!r} for "
                            f"{prompt[at:at + 40]!r} (--plain-answers puts answers as they are behind the prompt)")
        answer = whole[len(prompt):]
        if self.end:
            ending = self.behind if answer.endswith(self.behind) else self.end
            stripped = answer if answer.endswith(ending) else answer.rstrip()
            if not stripped.endswith(ending):
                raise BadRecord(f"the chat template ends the {part} with {answer[-20:]!r} and not with {self.end!r}")
            answer = stripped.removesuffix(ending)
        if not answer.strip():
            raise BadRecord(f"the chat template leaves nothing of the {part}")
        return answer
