"""A model's own chat template, run so that no message can pose as part of it.

Plan of ``render``:
    1. render with an unguessable placeholder in place of each message's text
    2. cut the output at the placeholders: what lies between them is the template's own
    3. put each text in its place, trimmed where the template trims, marked as not trusted

A template that drops a placeholder or changes it is refused: what it would do to the text cannot be
known without giving it the text.
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

from inference.text.messages import ChatMessage, Part
from lanai.content import Content
from lanai.errors import ModelFormatError, UnsupportedModel, UsageError

__all__ = ["ChatTemplate"]

_MAX_CHARACTERS = 1 << 20
# Whitespace to every trim, found in no template: what is missing afterwards was trimmed.
_EDGE = "\x1f"
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class _Refusal(TemplateError):
    """The template called ``raise_exception``."""


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

    def render(self, messages: Sequence[ChatMessage]) -> list[Part]:
        """The conversation and the opening of the next answer.

        Raises ``UsageError`` when the template refuses the conversation, ``UnsupportedModel`` when
        it alters texts in a way that cannot be followed.
        """
        # 1. render
        names = [f"text{secrets.token_hex(16)}" for _ in messages]
        output = self._run(
            [
                {"role": message.role, "content": _EDGE + name + _EDGE}
                for message, name in zip(messages, names, strict=True)
            ]
        )
        if not all(name in output for name in names):
            raise UnsupportedModel(
                "the model's chat template drops or rewrites messages",
                hint="use a model whose template keeps them",
            )
        # 2. cut
        pieces = re.split(f"({_EDGE}?(?:{'|'.join(names)}){_EDGE}?)", output)
        # 3. fill in
        texts = {name: message.text for message, name in zip(messages, names, strict=True)}
        parts = [_part(piece, texts) for piece in pieces]
        return [part for part in parts if part.text]

    def _run(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=True, tools=None, **self.tokens
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
    return json.dumps(value, ensure_ascii=False, indent=indent)
