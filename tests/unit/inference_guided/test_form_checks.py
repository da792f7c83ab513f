"""Forms judged without a model."""

import pytest

from inference.guided import Choices, FormCheck, JsonSchema, OutputForm, Regex, check_request
from inference.text import Tool, ToolChoice
from lanai.errors import UsageError

PERSON = JsonSchema(
    schema={
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    ("form", "text", "fits"),
    [
        (PERSON, '{"name": "Zoë", "age": 3}', True),
        (PERSON, '{"name": "Zoë"}', True),
        (PERSON, '{"name": "Zoë"', False),
        (PERSON, '{"name": "Zoë"} ', False),
        (PERSON, '{"name": 3}', False),
        (Choices(options=("a", "ab")), "ab", True),
        (Choices(options=("a", "ab")), "abc", False),
        (Choices(options=("a", "ab")), "", False),
        (Regex(pattern=r"\d+"), "12", True),
        (Regex(pattern=r"\d+"), "12 ", False),
    ],
)
def test_a_text_is_of_a_form_or_not(form: OutputForm, text: str, fits: bool) -> None:
    """A whole text, not a beginning of one, and nothing behind it; asking twice changes nothing."""
    check = FormCheck(form)
    assert [check.accepts(text), check.accepts(text)] == [fits, fits]


def test_a_request_that_cannot_be_followed_is_refused() -> None:
    """Wrong forms, wrong parameters of a tool and a call required of nobody are errors."""
    good = Tool(name="good")
    check_request(PERSON, (good,), ToolChoice.AUTO)
    bad = Tool(name="bad", parameters={"properties": {"x": {"pattern": "("}}})
    with pytest.raises(UsageError):
        check_request(Regex(pattern="("), (), ToolChoice.AUTO)
    with pytest.raises(UsageError):
        check_request(None, (good, bad), ToolChoice.AUTO)
    with pytest.raises(UsageError):
        check_request(None, (), ToolChoice.REQUIRED)
