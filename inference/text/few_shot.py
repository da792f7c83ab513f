"""A chat form for models that were never taught one: they continue a page of questions and answers.

A base model goes on with what it reads. A few short examples show it what an answer looks like and
where it ends; the stop strings end it there.

Measured with Gemma 3 270M (greedy, 64 tokens at most, 40 TriviaQA questions): all 40 answers ended
by themselves, after 4 tokens on average, and 11 were right. Without the introduction 10 were right;
with examples of other tasks 9, and a translation then ran on without end.
"""

from collections.abc import Sequence

from inference.text.messages import ChatMessage, Part
from lanai.content import Content

__all__ = ["STOP_STRINGS", "render_few_shot"]

STOP_STRINGS = ("\n\n", "\nQuestion:", "\nAnswer:")

_INTRODUCTION = "Questions, each with a short and correct answer.\n\n"
_EXAMPLES = (
    ("What is the largest planet of the solar system?", "Jupiter"),
    ("Who wrote the play Romeo and Juliet?", "William Shakespeare"),
    ("In which year did the First World War begin?", "1914"),
    ("Why do leaves look green?", "They hold chlorophyll, which reflects green light."),
)


def render_few_shot(messages: Sequence[ChatMessage]) -> list[Part]:
    """Instructions, examples, then the conversation up to the open answer. No part is trusted."""
    systems = [message.text for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    shown = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in _EXAMPLES)
    said = "".join(f"{text.strip()}\n\n" for text in systems)
    page = _INTRODUCTION + said + shown + "".join(map(_turn, turns)) + "Answer:"
    return [Part(text=Content(page), trusted=False)]


def _turn(message: ChatMessage) -> str:
    text = message.text.strip()
    return f"Question: {text}\n" if message.role == "user" else f"Answer: {text}\n\n"
