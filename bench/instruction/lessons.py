"""One example of a conversation to learn from, and which questions are kept for judging."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["LICENCES", "Lesson", "asked_of", "is_judged", "question_key"]

# What is learned from, by the name a lesson carries as its source. All permit derived works under
# any terms, with attribution at most.
LICENCES: Final[Mapping[str, str]] = {
    "triviaqa": "Apache-2.0",
    "openbook_qa": "Apache-2.0",
    "piqa": "AFL-3.0",
    "gsm8k": "MIT",
    "simple_arithmetic": "Apache-2.0",
    "clinc150": "CC-BY-3.0",
    "email_intent": "Apache-2.0",
    "enterprise_pii": "Apache-2.0",
    "scitldr": "Apache-2.0",
    "sums": "made by this recipe",
    "device_replies": "answers of SmolLM2-135M-Instruct (Apache-2.0)",
}
_NOT_WORDS: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A user's message and the answer to learn."""

    source: str
    prompt: str = field(repr=False)
    answer: str = field(repr=False)

    def to_json_dict(self) -> dict[str, Any]:
        """A line of the file that training reads."""
        return {"source": self.source, "prompt": self.prompt, "answer": self.answer}


def asked_of(row: Mapping[str, Any]) -> str:
    """The question of a row of any of the sets, without the words around it."""
    text = str(row.get("query") or row.get("question") or row.get("context", ""))
    return text.removeprefix("Question:").removesuffix("Answer:").strip()


def question_key(question: str) -> str:
    """What makes two questions the same one: words and digits, whatever stands between them."""
    return _NOT_WORDS.sub(" ", question.lower()).strip()


def is_judged(question: str) -> bool:
    """Whether a question is kept for judging: one half of all, by SHA-256 of its words."""
    return hashlib.sha256(question_key(question).encode()).digest()[0] < 128
