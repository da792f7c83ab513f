"""Constrained answers: whatever the model prefers, what comes out is of the form asked for."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.guided import Choices, Guide, JsonSchema, OutputForm, Regex
from inference.sampling import allowed_tokens
from inference.text import TextModel
from lanai.errors import UsageError

Write = Callable[..., Any]

leaves = st.sampled_from(
    [
        {"type": "string", "maxLength": 6},
        {"type": "integer", "minimum": -5, "maximum": 40},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", "green", 3]},
        {"const": "fixed"},
        {"type": "string", "pattern": "^[a-c]{1,3}$"},
        {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
    ]
)


def inner(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.builds(
        lambda item, least: {"type": "array", "items": item, "minItems": least, "maxItems": 3},
        children,
        st.integers(0, 2),
    )
    objects = st.builds(
        lambda properties, skip: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[skip:],
            "additionalProperties": False,
        },
        st.dictionaries(
            st.sampled_from(["a", "b c", 'q"', "ü", "long_name"]), children, max_size=4
        ),
        st.integers(0, 2),
    )
    return (
        arrays
        | objects
        | st.builds(lambda both: {"anyOf": both}, st.lists(children, min_size=1, max_size=2))
    )


schemas = st.recursive(leaves, inner, max_leaves=6)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(schema=schemas, seed=st.integers(0, 2**32 - 1))
def test_random_tokens_of_a_random_schema_validate(
    guide: Guide, guided_text: TextModel, write: Write, schema: dict[str, Any], seed: int
) -> None:
    """For any schema and any logits the decoded answer is JSON that validates against it."""
    random = np.random.default_rng(seed)
    answer = guide.answer(form=JsonSchema(schema=schema), vocabulary=guided_text.vocabulary)
    text, _, whole = write(answer, lambda allowed: int(random.choice(allowed)))
    assert whole
    jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("seed", range(5))
def test_choices_and_patterns_are_kept(
    guide: Guide, guided_text: TextModel, write: Write, seed: int
) -> None:
    """A choice comes out whole and unchanged; a pattern matches from its start to its end."""
    random = np.random.default_rng(seed)

    def answer_of(form: OutputForm) -> str:
        answer = guide.answer(form=form, vocabulary=guided_text.vocabulary)
        text, _, whole = write(answer, lambda allowed: int(random.choice(allowed)))
        assert whole
        return str(text)

    choices = ("yes", "yes, but", 'a "quoted" /one/', "größer")
    assert answer_of(Choices(options=choices)) in choices
    pattern = r"[a-f]{2}/\d{1,3}(\"|-)(x|yy)?"
    assert re.fullmatch(pattern, answer_of(Regex(pattern=pattern)), re.ASCII)


def test_an_answer_cut_off_is_not_complete(
    guide: Guide, guided_text: TextModel, write: Write
) -> None:
    """Out of tokens in the middle of a form, the answer says that it is not whole."""
    form = JsonSchema(schema={"type": "array", "items": {"type": "integer"}, "minItems": 9})
    answer = guide.answer(form=form, vocabulary=guided_text.vocabulary)
    assert not write(answer, lambda allowed: int(allowed[0]), max_tokens=3)[2]


def test_only_stop_ids_follow_a_whole_form(guide: Guide, guided_text: TextModel) -> None:
    """Where a form is at its end the mask holds the stop ids (and an end the chat form has)."""
    answer = guide.answer(form=Choices(options=("a",)), vocabulary=guided_text.vocabulary)
    constraint = answer.constraint
    assert constraint is not None
    [letter] = guided_text.encode("a")
    allowed = np.flatnonzero(allowed_tokens(constraint.allowed([letter]), guided_text.vocabulary))
    text = [guided_text.tokens.bytes_of(int(token)) for token in allowed]
    assert guided_text.stop_ids <= set(allowed.tolist())
    assert {piece.strip(b"\n") for piece in text} == {b""}


def test_a_mask_has_the_engines_shape(guide: Guide, guided_text: TextModel) -> None:
    """The engine's vocabulary may be padded beyond the tokenizer's: its shape counts."""
    for vocabulary in (guided_text.vocabulary, guided_text.vocabulary + 100):
        answer = guide.answer(form=Choices(options=("a",)), vocabulary=vocabulary)
        assert answer.constraint is not None
        mask = answer.constraint.allowed([])
        assert (mask.shape, str(mask.dtype)) == ((-(-vocabulary // 32),), "uint32")


def test_a_caller_may_go_back(guide: Guide, guided_text: TextModel) -> None:
    """A caller that tries one continuation and takes another gets the same masks as one that
    never tried."""
    form = Choices(options=("abc", "xyz"))
    tried, fresh = (guide.answer(form=form, vocabulary=guided_text.vocabulary) for _ in range(2))
    assert tried.constraint is not None
    assert fresh.constraint is not None
    tried.constraint.allowed(guided_text.encode("ab"))
    other = guided_text.encode("x")
    assert (tried.constraint.allowed(other) == fresh.constraint.allowed(other)).all()


def test_a_token_that_was_not_allowed_ends_the_answer(guide: Guide, guided_text: TextModel) -> None:
    """An engine that disobeys gets masks of stop ids alone, and the answer is not whole."""
    answer = guide.answer(form=Choices(options=("abc",)), vocabulary=guided_text.vocabulary)
    [wrong] = guided_text.encode("z")
    assert answer.constraint is not None
    mask = allowed_tokens(answer.constraint.allowed([wrong]), guided_text.vocabulary)
    assert set(np.flatnonzero(mask).tolist()) == set(guided_text.stop_ids)
    answer.push(wrong)
    assert not answer.complete


HOSTILE: dict[str, Callable[[], object]] = {
    "deep": lambda: JsonSchema(schema=nested(200)),
    "wide": lambda: JsonSchema(schema={"enum": list(range(10_000))}),
    "self": lambda: JsonSchema(schema=looped()),
    "long pattern": lambda: Regex(pattern="a" * 5000),
    "no pattern": lambda: Regex(pattern=""),
    "no choice": lambda: Choices(options=()),
    "empty choice": lambda: Choices(options=("a", "")),
    "one text": lambda: Choices(options="abc"),  # type: ignore[arg-type]
    "half a pair in a choice": lambda: Choices(options=("\ud800",)),
    "half a pair in a pattern": lambda: Regex(pattern="\ud800"),
    "half a pair in a schema": lambda: JsonSchema(schema={"const": "\ud800"}),
    "not json": lambda: JsonSchema(schema={"const": float("nan")}),
}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def looped() -> dict[str, Any]:
    schema: dict[str, Any] = {}
    schema["items"] = schema
    return schema


@pytest.mark.parametrize("name", HOSTILE)
def test_oversized_forms_are_refused_before_compiling(name: str) -> None:
    """Size and depth are judged first, without recursion."""
    with pytest.raises(UsageError):
        HOSTILE[name]()


@pytest.mark.parametrize(
    "form",
    [
        Regex(pattern="(unclosed"),
        Regex(pattern=r"(a)\1"),
        Regex(pattern="(?=a)b"),
        Regex(pattern=r"[^\s\S]"),
        JsonSchema(schema={"$ref": "#"}),
        JsonSchema(schema={"$ref": "https://example.org/schema.json"}),
        JsonSchema(schema={"type": "array", "uniqueItems": True}),
        JsonSchema(schema={"type": "string", "minLength": 3, "maxLength": 2}),
        JsonSchema(schema={"type": "integer", "multipleOf": 999_999_937}),
        JsonSchema(schema={"type": "nonsense"}),
        JsonSchema(schema={"uniqueItems": True, "x-guidance": {"lenient": True}}),
        JsonSchema(
            schema={"properties": {"a": {"uniqueItems": True, "x-guidance": {"lenient": True}}}}
        ),
    ],
)
def test_forms_that_cannot_be_enforced_are_refused(guide: Guide, form: OutputForm) -> None:
    """Wrong, endless, too costly or unsupported forms are an error that quotes nothing of them."""
    with pytest.raises(UsageError) as caught:
        guide.answer(form=form, vocabulary=300)
    told = f"{caught.value} {caught.value.hint}"
    assert caught.value.hint
    assert not any(word in told for word in ("unclosed", "example.org", "999", "nonsense"))


@pytest.mark.parametrize(
    "form",
    [
        JsonSchema(schema={"type": "string", "pattern": "^.*a.{200}$"}),
        JsonSchema(schema={"type": "array", "items": {"type": "string"}, "minItems": 10**9}),
        Regex(pattern="(a|b)*a(a|b){40}"),
        Regex(pattern="(((a{500}){500}){500}){500}"),
    ],
)
def test_costly_forms_stay_bounded(guide: Guide, write: Write, form: OutputForm) -> None:
    """A form whose automaton explodes ends its answer instead of growing without end."""
    random = np.random.default_rng(3)
    answer = guide.answer(form=form, vocabulary=300)
    text, _, _ = write(answer, lambda allowed: int(random.choice(allowed)), max_tokens=400)
    assert len(text) <= 400


def test_stop_strings_beside_a_form_are_refused(guide: Guide) -> None:
    """They would cut the form."""
    with pytest.raises(UsageError):
        guide.answer(form=Choices(options=("a",)), stop=("b",), vocabulary=300)


def test_a_guide_serves_forked_children(guide: Guide, guided_text: TextModel) -> None:
    """Built before a fork, it starts no thread and answers in the child as in the parent."""
    form = Choices(options=("abc", "xyz"))
    here = guide.answer(form=form, vocabulary=guided_text.vocabulary).constraint
    assert here is not None
    expected = here.allowed([]).tobytes()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            there = guide.answer(form=form, vocabulary=guided_text.vocabulary).constraint
            os.write(writing, there.allowed([]).tobytes() if there else b"")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == expected
    os.waitpid(child, 0)


def test_forms_show_no_content() -> None:
    """Their repr tells nothing of a schema, pattern or choice."""
    forms = (
        JsonSchema(schema={"const": "hidden"}),
        Regex(pattern="hidden"),
        Choices(options=("hidden",)),
    )
    assert "hidden" not in repr(forms)
