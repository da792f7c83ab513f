"""Rows of a JSONL file to examples: the model's chat form around them, only answers count.

Rows are ``{"prompt", "answer"}``, or ``{"messages": [{"role", "content"}, …]}`` where every
message of the assistant is an answer. An answer counts with the token that ends it, so that the
model learns to stop.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import torch

from inference.text import ChatMessage, TextModel
from inference.training.examples import Example
from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["parse_examples"]

MAX_LINE: Final = 1 << 20
Turns = tuple[ChatMessage, ...]


def parse_examples(
    lines: Iterable[str], text: TextModel, *, end: str | int, longest: int
) -> list[Example]:
    """One example for each answer of each row; those of more than ``longest`` tokens are left out.

    ``end``: what closes an answer in this chat form, a token id or a text such as a line break.
    Raises ``UsageError`` naming the line, never its text.
    """
    examples = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            for before, answer in _answers(_row(line, number), number):
                example = _example(text, before, answer, end)
                if len(example) <= longest:
                    examples.append(example)
    return examples


def _row(line: str, number: int) -> Turns:
    if len(line) > MAX_LINE:
        raise _no_row(number)
    try:
        row = json.loads(line)
        if "messages" in row:
            return tuple(
                _message(message["role"], message["content"]) for message in row["messages"]
            )
        return (_message("user", row["prompt"]), _message("assistant", row["answer"]))
    except (ValueError, TypeError, KeyError, RecursionError, UsageError):
        raise _no_row(number) from None


def _message(role: Any, content: Any) -> ChatMessage:
    if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
        raise TypeError
    return ChatMessage(role=role, text=Content(content))


def _answers(turns: Turns, number: int) -> Iterator[tuple[Turns, Content]]:
    """Each answer with the conversation before it."""
    found = [at for at, turn in enumerate(turns) if turn.role == "assistant" and at]
    if not found:
        raise _no_row(number)
    for at in found:
        yield turns[:at], turns[at].text


def _example(
    text: TextModel, before: Sequence[ChatMessage], answer: Content, end: str | int
) -> Example:
    prompt = text.render(before)
    # In a form without control tokens an answer begins behind a space: "Answer: Jupiter".
    lead = "" if text.template is not None else " "
    if isinstance(end, int):
        answered = [*text.encode(lead + answer.strip()), end]
    else:
        answered = [*text.encode(lead + answer.strip() + end)]
    wanted = torch.zeros(len(prompt) + len(answered), dtype=torch.bool)
    wanted[len(prompt) :] = True
    return Example(ids=torch.tensor([*prompt, *answered]), wanted=wanted)


def _no_row(number: int) -> UsageError:
    return UsageError(
        f"line {number} is no example to learn from",
        hint='rows: {"prompt", "answer"} or {"messages": [{"role", "content"}, ...]}',
    )
