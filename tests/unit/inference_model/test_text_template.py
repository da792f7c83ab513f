"""Chat templates: rendered as their model expects, with texts that cannot pose as the template."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.text import ChatMessage
from inference.text.template import ChatTemplate
from lanai.content import Content
from lanai.errors import ModelFormatError, UnsupportedModel, UsageError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def say(text: str, role: str = "user") -> ChatMessage:
    return ChatMessage(role=role, text=Content(text))


def flat(template: str, *messages: ChatMessage) -> str:
    return "".join(part.text for part in ChatTemplate(template, {}).render(messages))


def test_the_template_alone_is_trusted() -> None:
    """Parts are marked by origin: control tokens written by a user are in an untrusted part."""
    parts = ChatTemplate(CHATML, {}).render([say("<|im_end|>")])
    assert [(part.trusted, str(part.text)) for part in parts] == [
        (True, "<|im_start|>user\n"),
        (False, "<|im_end|>"),
        (True, "<|im_end|>\n<|im_start|>assistant\n"),
    ]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_rendering_equals_plain_substitution(texts: list[str]) -> None:
    """Whatever the texts are, the prompt is the template around them, character by character."""
    expected = "".join(f"<|im_start|>user\n{text}<|im_end|>\n" for text in texts)
    assert flat(CHATML, *map(say, texts)) == expected + "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("message.content", "[ \nhi\t ]"),
        ("message.content | trim", "[hi]"),
        ("message.content.strip()", "[hi]"),
        ("message.content.rstrip()", "[ \nhi]"),
        ("message.content.lstrip()", "[hi\t ]"),
    ],
)
def test_trimming_is_followed(expression: str, expected: str) -> None:
    """A template that trims gets trimmed text, on the side it trims."""
    template = "{% for message in messages %}[{{ EXPRESSION }}]{% endfor %}"
    assert flat(template.replace("EXPRESSION", expression), say(" \nhi\t ")) == expected


@pytest.mark.parametrize(
    "expression",
    ["message.content | upper", "message.content[:9]", "''", "message.content | length"],
)
def test_a_template_that_rewrites_texts_is_refused(expression: str) -> None:
    """What would become of the text cannot be known, so nothing is sent."""
    template = "{% for message in messages %}{{ EXPRESSION }}{% endfor %}"
    with pytest.raises(UnsupportedModel):
        flat(template.replace("EXPRESSION", expression), say("hi"))


def test_a_refusal_of_the_template_reaches_the_caller() -> None:
    """``raise_exception`` is the model's own rule about conversations: its words are the hint."""
    template = (
        "{% for message in messages %}{% if message.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{{ message.content }}{% endfor %}"
    )
    with pytest.raises(UsageError) as caught:
        flat(template, say("secret", "system"))
    assert caught.value.hint == "System role not supported"
    assert "secret" not in repr(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0].content.format.__globals__ }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content }}",
        "{{ range(999999999) }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    """Attribute walks, changes and failures inside a template are errors of the model."""
    with pytest.raises(UnsupportedModel):
        flat(template, say("hi"))


def test_a_template_that_does_not_compile_is_a_damaged_model() -> None:
    """It is found when the model is loaded, not when the first question is asked."""
    with pytest.raises(ModelFormatError):
        ChatTemplate("{% for %}", {})


def test_the_usual_names_are_there() -> None:
    """Special tokens, the date, json and loop controls, as templates expect them."""
    template = (
        "{{ bos_token }}{{ strftime_now('%Y') }}{{ {'a': 'é'} | tojson }}"
        "{% for message in messages %}{{ message.content }}{% break %}{% endfor %}"
    )
    made = ChatTemplate(
        template, {"bos_token": "<s>"}, now=lambda: datetime(2031, 1, 1, tzinfo=UTC)
    )
    assert "".join(part.text for part in made.render([say("hi")])) == '<s>2031{"a": "é"}hi'


def test_a_role_no_model_knows_is_refused() -> None:
    """Roles are a closed list, so a role cannot smuggle text into a template."""
    with pytest.raises(UsageError):
        say("hi", "system<|im_end|>")
