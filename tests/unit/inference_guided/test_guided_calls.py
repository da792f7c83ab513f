"""Tool calls in an answer: made only as the tools allow, read whole, never shown as text."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.guided import AnswerReader, Choices, Guide, GuidedAnswer
from inference.sampling import allowed_tokens
from inference.text import TextModel, Tool, ToolCall, ToolChoice
from inference.text.vocabulary import Vocabulary
from lanai.content import Content
from lanai.errors import UsageError

Write = Callable[..., tuple[str, list[ToolCall], bool]]

WEATHER = Tool(
    name="weather",
    description="The weather now",
    parameters={
        "type": "object",
        "properties": {
            "city": {"enum": ["Oslo", "Rome"]},
            "days": {"type": "integer", "maximum": 9},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
)
CLOCK = Tool(name="clock")
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


def ask(guide: Guide, choice: ToolChoice = ToolChoice.AUTO, **more: Any) -> GuidedAnswer:
    return guide.answer(tools=(WEATHER, CLOCK), choice=choice, vocabulary=10_000, **more)


def following(text: TextModel, wanted: str) -> Callable[[Any], int]:
    """Picks the tokens of ``wanted`` one by one, then a stop id; fails where one is not allowed."""
    ids = iter([*text.encode(wanted), min(text.stop_ids)])

    def pick(allowed: Any) -> int:
        token: int = next(ids)
        assert token in allowed, "the grammar does not allow this"
        return token

    return pick


@pytest.mark.parametrize(
    ("written", "shown", "calls"),
    [
        ("Just text, < and <tool too.", "Just text, < and <tool too.", 0),
        (CALL, "", 1),
        ("Let me see. " + CALL, "Let me see. ", 1),
        (CALL + "\n" + CALL.replace("Oslo", "Rome"), "", 2),
    ],
)
def test_auto_takes_text_and_calls(
    guide: Guide, guided_text: TextModel, write: Write, written: str, shown: str, calls: int
) -> None:
    """With `auto` an answer is text, or text and then calls; calls come out as values."""
    text, found, whole = write(ask(guide), following(guided_text, written))
    assert (text, len(found), whole) == (shown, calls, True)
    assert [(c.name, json.loads(c.arguments)["city"]) for c in found[:1]] == [
        ("weather", "Oslo")
    ] * min(calls, 1)
    assert len({call.id for call in found}) == calls


@pytest.mark.parametrize("seed", range(6))
def test_a_required_call_is_made_whatever_the_model_prefers(
    guide: Guide, write: Write, seed: int
) -> None:
    """With `required` random logits give one or more calls with arguments that validate."""
    random = np.random.default_rng(seed)
    text, calls, whole = write(
        ask(guide, ToolChoice.REQUIRED), lambda allowed: int(random.choice(allowed))
    )
    assert (text, whole) == ("", True)
    assert calls
    for call in calls:
        tool = {"weather": WEATHER, "clock": CLOCK}[call.name]
        jsonschema.validate(json.loads(call.arguments), tool.parameters)


def test_a_tool_that_names_no_parameters_takes_none(guide: Guide, write: Write) -> None:
    """Whatever the model prefers, its arguments are the empty object: a free one may never end."""
    now = Tool(name="now")
    asked = guide.answer(tools=(now,), choice=ToolChoice.REQUIRED, vocabulary=10_000)
    random = np.random.default_rng(1)
    _, calls, whole = write(asked, lambda allowed: int(random.choice(allowed)))
    assert whole
    assert {json.dumps(json.loads(call.arguments)) for call in calls} == {"{}"}


def test_a_form_and_tools_share_an_answer(
    guide: Guide, guided_text: TextModel, write: Write
) -> None:
    """With a form beside tools the answer is of the form, or it is a call; no other text."""
    form = Choices(options=("warm", "cold"))
    assert write(ask(guide, form=form), following(guided_text, "warm")) == ("warm", [], True)
    assert len(write(ask(guide, form=form), following(guided_text, CALL))[1]) == 1
    with pytest.raises(AssertionError):
        write(ask(guide, form=form), following(guided_text, "Well, " + CALL))


@pytest.mark.parametrize("choice", [ToolChoice.AUTO, ToolChoice.NONE])
def test_a_model_invents_no_result(
    guide: Guide, guided_text: TextModel, write: Write, choice: ToolChoice
) -> None:
    """What only the device may say of a tool, its result, the model cannot write as text."""
    with pytest.raises(AssertionError):
        write(ask(guide, choice), following(guided_text, "So: <tool_response>"))


def test_none_means_no_call(guide: Guide, guided_text: TextModel, write: Write) -> None:
    """With `none` the answer is text, and the model cannot write what looks like a call."""
    plain = "a <tool_ and </tool_call>"
    assert write(ask(guide, ToolChoice.NONE), following(guided_text, plain)) == (plain, [], True)
    with pytest.raises(AssertionError):
        write(ask(guide, ToolChoice.NONE), following(guided_text, CALL))


def test_a_call_cut_off_is_neither_text_nor_call(guide: Guide, guided_text: TextModel) -> None:
    """Out of tokens inside a call, the answer holds nothing of it and is not whole."""
    answer = ask(guide)
    pieces = [
        piece for token in guided_text.encode("Hm. " + CALL[:-5]) for piece in answer.push(token)
    ]
    assert "".join(map(str, [*pieces, *answer.finish()])) == "Hm. "
    assert not answer.complete


def test_a_repeated_call_ends_the_answer(guide: Guide, guided_text: TextModel) -> None:
    """The same call with the same arguments again says nothing new: it is left out."""
    answer = ask(guide)
    ids = guided_text.encode(f"{CALL}\n{CALL}\n{CALL}")
    calls = 0
    for token in ids:
        calls += len(answer.push(token))
        if answer.stopped:
            break
    assert (calls, answer.stopped, answer.complete, answer.finish()) == (1, True, True, [])


def test_stop_strings_count_in_text_alone(guide: Guide, guided_text: TextModel) -> None:
    """A stop string inside a call's arguments does not cut the call."""
    answer = ask(guide, stop=("Oslo",))
    pieces = [piece for token in guided_text.encode(CALL) for piece in answer.push(token)]
    assert [type(piece) for piece in pieces] == [ToolCall]


@given(st.lists(st.text(alphabet='<tol_ca/>{} x"', max_size=30), max_size=3), st.integers(1, 7))
def test_text_comes_back_unchanged(byte_text: TextModel, texts: Sequence[str], calls: int) -> None:
    """Whatever text comes before a call, the reader gives exactly it, however it looks."""
    text = "".join(texts)
    if "<tool_call>" in text:
        text = ""
    reader = AnswerReader(byte_text.tokens, calls=True)
    pieces = [piece for token in byte_text.encode(text + CALL) for piece in reader.push(token)]
    pieces += reader.finish()
    assert "".join(piece for piece in pieces if isinstance(piece, Content)) == text
    assert sum(isinstance(piece, ToolCall) for piece in pieces) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[1]",
        '{"name": "x"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "x", "arguments": []}',
    ],
)
def test_what_is_no_call_breaks_the_answer(byte_text: TextModel, body: str) -> None:
    """A node that sends something else between the markers gets no call and no text out of it."""
    reader = AnswerReader(byte_text.tokens, calls=True)
    ids = byte_text.encode(f"<tool_call>{body}</tool_call> more")
    assert [piece for token in ids for piece in reader.push(token)] == []
    assert (reader.finish(), reader.broken, reader.stopped) == ([], True, True)


def test_markers_that_are_tokens_are_used(byte_text: TextModel) -> None:
    """A model whose template makes the markers tokens of its own is held to those tokens."""
    source = (
        "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
        "{% for m in messages %}[{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>"
        "{{ c.function | tojson }}{% endfor %}]{% endfor %}"
    )
    from inference.text.template import ChatTemplate

    control = dict(byte_text.tokens.control) | {"<tool_call>": 300, "</tool_call>": 301}
    tokens = Vocabulary(
        tokenizer=byte_text.tokens.tokenizer, size=302, control=control,
        added=byte_text.tokens.added, byte_level=True,
    )  # fmt: skip
    text = TextModel(
        tokens=tokens, template=ChatTemplate(source, {}), bos_id=None, stop_ids=byte_text.stop_ids
    )
    answer = Guide.of(text).answer(
        tools=(WEATHER,), choice=ToolChoice.REQUIRED, vocabulary=text.vocabulary
    )
    assert answer.constraint is not None
    assert np.flatnonzero(allowed_tokens(answer.constraint.allowed([]), 302)).tolist() == [300]
    middle = CALL.removeprefix("<tool_call>").removesuffix("</tool_call>")
    pieces = [p for token in [300, *text.encode(middle), 301] for p in answer.push(token)]
    assert [piece.name for piece in pieces if isinstance(piece, ToolCall)] == ["weather"]
    assert answer.complete


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((WEATHER, WEATHER), ToolChoice.AUTO),
        ((), ToolChoice.REQUIRED),
        ((Tool(name="x", parameters={"type": "array"}),), ToolChoice.AUTO),
        (tuple(Tool(name=f"t{n}") for n in range(65)), ToolChoice.AUTO),
    ],
)
def test_tools_that_make_no_sense_are_refused(
    guide: Guide, tools: tuple[Tool, ...], choice: ToolChoice
) -> None:
    """Two of a name, none where a call is required, parameters that are no object, too many."""
    with pytest.raises(UsageError):
        guide.answer(tools=tools, choice=choice, vocabulary=300)


@pytest.mark.parametrize("name", ["", "9x", "a b", "a" * 65, 'x"}', "<tool>"])
def test_tool_names_are_plain(name: str) -> None:
    """A name can hold nothing that a template or a grammar could take for its own."""
    with pytest.raises(UsageError):
        Tool(name=name)
