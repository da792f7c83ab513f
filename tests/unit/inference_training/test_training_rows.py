"""Rows of JSONL to examples: the chat form around them, the answer's tokens marked."""

import json
from pathlib import Path

import pytest

from inference.text import ChatMessage, TextModel, load_text_model
from inference.training import parse_examples
from lanai.content import Content
from lanai.errors import UsageError

END = 258  # <|im_end|>


@pytest.fixture(scope="module")
def text(tiny_folder: Path) -> TextModel:
    return load_text_model(tiny_folder)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_an_answer_follows_its_prompt(text: TextModel) -> None:
    """The ids are the rendered prompt, the answer, its end; only the last two count."""
    line = json.dumps({"prompt": "say ab", "answer": " ab "})
    (example,) = parse_examples([line], text, end=END, longest=100)
    prompt = text.render([ChatMessage(role="user", text=Content("say ab"))])
    assert example.ids.tolist() == [*prompt, *text.encode("ab"), END]
    assert example.ids[example.wanted].tolist() == [*text.encode("ab"), END]


def test_every_answer_of_a_conversation_is_one(text: TextModel) -> None:
    """Two answers give two examples, the second with the first turn before it."""
    turns = [said("user", "a"), said("assistant", "b"), said("user", "c"), said("assistant", "d")]
    first, second = parse_examples([json.dumps({"messages": turns})], text, end=END, longest=200)
    assert first.ids[first.wanted].tolist() == [*text.encode("b"), END]
    assert second.ids[second.wanted].tolist() == [*text.encode("d"), END]
    assert len(second) > len(first)


def test_an_end_may_be_text(text: TextModel) -> None:
    """In a form without control tokens a blank line ends an answer."""
    (example,) = parse_examples(['{"prompt": "a", "answer": "b"}'], text, end="\n\n", longest=100)
    assert example.ids[example.wanted].tolist() == [*text.encode("b\n\n")]


def test_long_examples_and_empty_lines_are_left_out(text: TextModel) -> None:
    """What does not fit is not cut: half an answer would teach the wrong end."""
    lines = ['{"prompt": "a", "answer": "b"}', "", json.dumps({"prompt": "a", "answer": "b" * 90})]
    assert len(parse_examples(lines, text, end=END, longest=80)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"prompt": "secret"}',
        '{"prompt": "secret", "answer": ""}',
        '{"prompt": 3, "answer": "b"}',
        '{"messages": []}',
        '{"messages": [{"role": "user", "content": "secret"}]}',
        '{"messages": [{"role": "nobody", "content": "secret"}]}',
        "[" * 100_000,
    ],
)
def test_a_row_of_another_form_is_named_by_its_line(text: TextModel, line: str) -> None:
    """The error says which line, and nothing of what it holds."""
    with pytest.raises(UsageError, match="line 2") as caught:
        parse_examples(['{"prompt": "a", "answer": "b"}', line], text, end=END, longest=100)
    assert "secret" not in str(caught.value)
