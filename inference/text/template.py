"""A model's own chat template, run so that no message can pose as part of it.

Plan of ``render``:
    1. render with an unguessable placeholder in place of each message's text
    2. cut the output at the placeholders: what lies between them is the template's own
    3. put each text in its place, trimmed where the template trims, marked as not trusted

A template that drops a placeholder or changes it is refused: what it would do to the text cannot be
known without giving it the text. Definitions and arguments of tools are texts too: `tojson` writes
the placeholder of the whole object.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.text.messages import ChatMessage, Part, ToolCall
from inference.text.tools import CALL_START, Tool, told_plainly
from lanai.content import Content
from lanai.errors import ModelFormatError, UnsupportedModel, UsageError

__all__ = ["ChatTemplate"]

_MAX_CHARACTERS = 1 << 20
# Whitespace to every trim, found in no template: what is missing afterwards was trimmed.
_EDGE = "\x1f"
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class _Refusal(TemplateError):
    """The template called ``raise_exception``."""


class _Altered(Exception):
    """The template dropped a placeholder or changed it."""


class _Told(dict[str, Any]):
    """An object whose JSON is the text that ``name`` stands for. Its own values are harmless."""

    def __init__(self, name: str, **values: Any) -> None:
        super().__init__(values)
        self.name = name


class _Names:
    """Placeholders given out for one rendering."""

    def __init__(self) -> None:
        self.texts: dict[str, Content] = {}

    def of(self, text: str) -> str:
        name = f"text{secrets.token_hex(16)}"
        self.texts[name] = Content(text)
        return name

    def message(self, message: ChatMessage) -> dict[str, Any]:
        """As templates expect it. Only a message of calls alone has no text."""
        content = _EDGE + self.of(message.text) + _EDGE
        told: dict[str, Any] = {"role": message.role, "content": content}
        if message.tool_calls:
            told["content"] = content if message.text else ""
            told["tool_calls"] = [
                {"id": call.id, "type": "function", "function": self._call(call)}
                for call in message.tool_calls
            ]
        return told

    def tool(self, tool: Tool) -> _Told:
        whole = tool.definition()
        return _Told(self.of(_to_json(whole)), type="function", function={"name": tool.name})

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return {"name": call.name, "arguments": _Told(self.of(call.arguments))}


class ChatTemplate:
    """A compiled template with the names of the model's special tokens."""

    def __init__(
        self,
        source: str,
        tokens: Mapping[str, str],
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """``tokens``: ``bos_token``, ``eos_token`` … as the template calls them.

        Raises ``ModelFormatError`` for a template that does not compile.
        """
        if len(source) > _MAX_CHARACTERS:
            raise ModelFormatError("the model's chat template is larger than 1 MiB")
        self.source = source
        self.tokens = dict(tokens)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols],
            autoescape=False,  # the output is a prompt, not a page
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except (TemplateError, *_FAILURES) as error:
            raise ModelFormatError("the model's chat template does not compile") from error

    @property
    def knows_tools(self) -> bool:
        """Whether it tells of tools, and spells calls, as ``inference.text.tools`` reads them."""
        return all(word in self.source for word in (CALL_START, "tools", "tool_calls"))

    def render(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[Part]:
        """The conversation and the opening of the next answer.

        Raises ``UsageError`` when the template refuses the conversation, ``UnsupportedModel`` when
        it alters texts in a way that cannot be followed.
        """
        try:
            if self.knows_tools:
                return self._parts(messages, tools)
            return self._parts(told_plainly(messages, tools), ())
        except _Altered:
            raise UnsupportedModel(
                "the model's chat template drops or rewrites messages",
                hint="use a model whose template keeps them",
            ) from None

    def _parts(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> list[Part]:
        # 1. render
        names = _Names()
        output = self._run([names.message(m) for m in messages], [names.tool(t) for t in tools])
        texts = {name: text for name, text in names.texts.items() if text or name in output}
        if not all(name in output for name in texts):
            raise _Altered
        # 2. cut
        pieces = re.split(f"({_EDGE}?(?:{'|'.join(texts)}){_EDGE}?)", output)
        # 3. fill in
        parts = [_part(piece, texts) for piece in pieces]
        return [part for part in parts if part.text]

    def _run(self, messages: list[dict[str, Any]], tools: list[_Told]) -> str:
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=True, tools=tools or None, **self.tokens
            )
        except _Refusal as error:
            raise UsageError(
                "the model's chat template refuses this conversation", hint=str(error)
            ) from error
        except (TemplateError, *_FAILURES) as error:
            raise UnsupportedModel("the model's chat template failed") from error


def _part(piece: str, texts: Mapping[str, Content]) -> Part:
    text = texts.get(piece.strip(_EDGE))
    if text is None:
        return Part(text=Content(piece), trusted=True)
    if not piece.startswith(_EDGE):
        text = Content(text.lstrip())
    if not piece.endswith(_EDGE):
        text = Content(text.rstrip())
    return Part(text=text, trusted=False)


def _refuse(message: object) -> NoReturn:
    raise _Refusal(str(message))


def _to_json(value: Any, indent: int | None = None) -> str:
    if isinstance(value, _Told):
        return value.name
    return json.dumps(value, ensure_ascii=False, indent=indent)
