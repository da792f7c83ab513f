"""How well a model predicts: perplexity of a text, and choices by their likelihood.

Runs a ``LanguageModel`` in this process; torch comes with the decoder that is given.

Perplexity: windows do not overlap, and the second half of each is scored, so that every scored
token has at least half a window before it. A model whose sequences begin with a token of their own
(BOS) gets it as the first token of every window; SmolLM2 has none.

Choices: the mean log-likelihood of a choice's tokens after the query; the highest wins. In the
WinoGrande form the context differs and the continuation is the same. ``shots`` rows from the head
of the file become examples, with their right answers, and are not scored. What a context begins
with in common with the one before it, such as those examples, is read once.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from lanai.content import Content
from lanai.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from inference.decoder import LanguageModel

__all__ = [
    "Choice",
    "Perplexity",
    "Question",
    "Score",
    "longest",
    "parse_questions",
    "perplexity",
    "prepare",
    "score",
]

ROWS_AT_ONCE: Final = (
    64  # of logits turned into probabilities; bounds memory for large vocabularies
)


class Encoder(Protocol):
    """What is needed of a ``TextModel``."""

    @property
    def bos_id(self) -> int | None: ...

    def encode(self, text: str) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """``tokens``: how many were scored."""

    perplexity: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``accuracy`` over ``n`` questions; ``right``: of each, in their order."""

    accuracy: float
    n: int
    right: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """(context, continuation) of each choice, and which is right."""

    choices: tuple[tuple[Content, Content], ...]
    gold: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Choice:
    """A choice as ids. Choices of one question often share their context."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


def perplexity(
    decoder: "LanguageModel",
    ids: Sequence[int],
    *,
    window: int,
    chunks: int,
    bos_id: int | None = None,
) -> Perplexity:
    """Of the first ``chunks`` windows of ``ids``. Raises ``UsageError`` when there are fewer."""
    step = window if bos_id is None else window - 1
    if window < 4 or window % 2:
        raise UsageError("the window is an even number of at least 4 tokens", hint="--window 512")
    if len(ids) < step * chunks or chunks < 1:
        raise UsageError(
            f"the text has {len(ids)} tokens, {chunks} windows of {window} need {step * chunks}",
            hint=f"--chunks {max(len(ids) // step, 1)}, or a longer text",
        )
    lead = () if bos_id is None else (bos_id,)
    total = 0.0
    for start in range(0, step * chunks, step):
        cache = decoder.new_cache(window)
        whole = (*lead, *ids[start : start + step])
        first = _forward(decoder, whole[: window // 2], cache)
        total += sum(_log_likelihoods(decoder, first, whole[window // 2 :], cache))
    tokens = chunks * (window // 2)
    return Perplexity(perplexity=math.exp(-total / tokens), tokens=tokens)


def parse_questions(lines: Iterator[str]) -> list[Question]:
    """Rows of JSON, one a line. Raises ``UsageError`` naming the line, never its text."""
    questions = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            questions.append(_question(line, number))
    return questions


def _question(line: str, number: int) -> Question:
    try:
        choices, gold = _pairs(json.loads(line))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _no_question(number) from None
    answerable = len(choices) > 1 and all(continuation for _, continuation in choices)
    if not answerable or type(gold) is not int or not 0 <= gold < len(choices):
        raise _no_question(number)
    return Question(choices=choices, gold=gold)


def _no_question(number: int) -> UsageError:
    return UsageError(
        f"line {number} is not a question",
        hint='rows: {"query","choices","gold"} or {"context_options","continuation","gold"}',
    )


def _pairs(row: dict[str, Any]) -> tuple[tuple[tuple[Content, Content], ...], Any]:
    if "context_options" in row:
        pairs = [(context, row["continuation"]) for context in row["context_options"]]
    else:
        pairs = [(row["query"], choice) for choice in row["choices"]]
    return tuple((Content(c), Content(_spaced(c, text))) for c, text in pairs), row["gold"]


def _spaced(context: str, continuation: str) -> str:
    """One space between the two, unless the context ends in white space."""
    if not isinstance(context, str) or not isinstance(continuation, str):
        raise TypeError
    return continuation if not context or context[-1].isspace() else f" {continuation}"


def prepare(
    questions: Sequence[Question], text: Encoder, *, shots: int = 0
) -> list[tuple[list[Choice], int]]:
    """Ids of every question but the first ``shots``, which become the examples before each."""
    if not 0 <= shots < len(questions):
        raise UsageError(
            f"{len(questions)} questions leave none to score after {shots} shots",
            hint="fewer --shots, or more questions",
        )
    examples = "".join("".join(q.choices[q.gold]) + "\n\n" for q in questions[:shots])
    lead = () if text.bos_id is None else (text.bos_id,)
    return [
        (
            [
                Choice(
                    context=(*lead, *text.encode(examples + context)),
                    continuation=tuple(text.encode(continuation)),
                )
                for context, continuation in question.choices
            ],
            question.gold,
        )
        for question in questions[shots:]
    ]


def longest(prepared: Sequence[tuple[list[Choice], int]]) -> int:
    """Tokens of the longest context with its continuation: what the decoder must hold."""
    return max(len(c.context) + len(c.continuation) for choices, _ in prepared for c in choices)


def score(decoder: "LanguageModel", prepared: Sequence[tuple[list[Choice], int]]) -> Score:
    """Accuracy of choosing the likeliest. Ties go to the first, as ``max`` does."""
    contexts = _Contexts(decoder, longest(prepared))
    right = []
    for choices, gold in prepared:
        means = [_mean_log_likelihood(decoder, choice, contexts) for choice in choices]
        right.append(means.index(max(means)) == gold)
    return Score(accuracy=sum(right) / len(right), n=len(right), right=tuple(right))


class _Contexts:
    """One cache that holds a context; of the next one only what differs is read."""

    def __init__(self, decoder: "LanguageModel", room: int) -> None:
        self._decoder = decoder
        self._held: tuple[int, ...] = ()
        self._logits: Tensor | None = None
        self.cache: Any = decoder.new_cache(room)

    def read(self, ids: tuple[int, ...]) -> "Tensor":
        """Logits after ``ids``, (1, vocabulary); the cache ends with them."""
        if self._logits is None or ids != self._held:
            same = _common(ids[:-1], self._held)  # the last is read: its logits are wanted
            self.cache.length, self._held = same, ids
            self._logits = _forward(self._decoder, ids[same:], self.cache)
        self.cache.length = len(ids)  # back from the continuation that followed
        return self._logits


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of the first ids are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _mean_log_likelihood(decoder: "LanguageModel", choice: Choice, contexts: _Contexts) -> float:
    first = contexts.read(choice.context)
    values = list(_log_likelihoods(decoder, first, choice.continuation, contexts.cache))
    return sum(values) / len(values)


def _forward(decoder: "LanguageModel", ids: Sequence[int], cache: Any) -> "Tensor":
    """Logits after the last id, shape (1, vocabulary)."""
    return decoder.forward(_tensor(ids), cache).logits


def _log_likelihoods(
    decoder: "LanguageModel", first: "Tensor", ids: Sequence[int], cache: Any
) -> Iterator[float]:
    """Of each of ``ids`` after what ``cache`` holds; ``first``: logits of the first of them."""
    yield from _chosen(first, ids[:1])
    for start in range(0, len(ids) - 1, ROWS_AT_ONCE):
        piece = ids[start : min(start + ROWS_AT_ONCE, len(ids) - 1)]
        logits = decoder.forward(_tensor(piece), cache, all_logits=True).logits
        yield from _chosen(logits, ids[start + 1 : start + 1 + len(piece)])


def _chosen(logits: "Tensor", ids: Sequence[int]) -> list[float]:
    picked = logits.gather(1, _tensor(ids).to(logits.device).unsqueeze(1)).squeeze(1)
    values: list[float] = (picked - logits.logsumexp(1)).tolist()
    return values


def _tensor(ids: Sequence[int]) -> "Tensor":
    import torch

    return torch.tensor(ids, dtype=torch.int64)
