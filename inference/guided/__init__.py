"""Answers of a fixed form, and calls of tools: grammars over a model's tokens. No torch.

Belongs to the text side: a schema, a tool or a call is content, and reaches no engine, which is
given a bitmask for each step. Trusts nothing in a schema or pattern: sizes, depth and the cost of
each step are bounded. Refuses what it cannot enforce; a keyword is never ignored.

Importing this loads no llguidance and no tokenizer; ``Guide.of`` does.
"""

from typing import TYPE_CHECKING

from inference.guided.checking import FormCheck, check_request
from inference.guided.forms import Choices, JsonSchema, OutputForm, Regex
from lanai.lazy import lazily

if TYPE_CHECKING:
    from inference.guided.constraint import GrammarConstraint
    from inference.guided.guide import Guide, GuidedAnswer, plain_answer
    from inference.guided.reader import AnswerReader

__all__ = [
    "AnswerReader",
    "Choices",
    "FormCheck",
    "GrammarConstraint",
    "Guide",
    "GuidedAnswer",
    "JsonSchema",
    "OutputForm",
    "Regex",
    "check_request",
    "plain_answer",
]

_HOME = {
    "AnswerReader": "inference.guided.reader",
    "GrammarConstraint": "inference.guided.constraint",
    "Guide": "inference.guided.guide",
    "GuidedAnswer": "inference.guided.guide",
    "plain_answer": "inference.guided.guide",
}


if not TYPE_CHECKING:
    # What needs a model's text side comes with the first model: apps import forms.
    __getattr__ = lazily(__name__, _HOME)
