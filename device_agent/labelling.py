"""Asks both models of a pair the same questions, grades them, and keeps numbers only.

1. The device model answers; its prefill, first token, early tokens and whole answer give signals.
2. The cloud model answers here, in the clear: training needs no cluster.
3. Both answers are graded and forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.grading import Question
from inference.engine import Engine, Finished, GenerateOptions, Prefilled, Token
from inference.text import ChatMessage, TextModel
from lanai.content import Content
from lanai.errors import EngineError
from router import DecodeObservation, PrefillObservation
from router.evaluation import Outcomes
from router.facts import AnswerObservation
from router.signals import (
    ANSWER_SIGNALS,
    PREFILL_SIGNALS,
    DraftEntropy,
    DraftMargin,
    DraftRepetition,
)
from router.training import Labelled

__all__ = ["Asked", "Label", "label", "label_one", "labelled_of"]

DRAFT_TOKENS = 16
WINDOW = 8
DRAFT_SIGNALS = (DraftEntropy(WINDOW), DraftMargin(WINDOW), DraftRepetition(WINDOW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One model, loaded."""

    engine: Engine
    text: TextModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one question gave: grades, signals by name (NaN: not measured), hidden state."""

    device_good: bool
    cloud_good: bool
    values: Mapping[str, float]
    hidden: NDArray[np.float32] = field(repr=False)  # shape (width,)

    def to_json_dict(self) -> dict[str, Any]:
        """Numbers only; five digits of the hidden state are more than a probe can use."""
        return {
            "device_good": self.device_good,
            "cloud_good": self.cloud_good,
            "values": {k: None if np.isnan(v) else v for k, v in self.values.items()},
            "hidden": [float(f"{value:.5g}") for value in self.hidden.tolist()],
        }

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Label":
        """The inverse, of a file written here. Raises ``KeyError`` for another form."""
        return cls(
            device_good=bool(row["device_good"]),
            cloud_good=bool(row["cloud_good"]),
            values={k: float("nan") if v is None else float(v) for k, v in row["values"].items()},
            hidden=np.array(row["hidden"], dtype=np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    text: Content
    prefilled: Prefilled
    tokens: tuple[Token, ...]
    finished: bool


async def label(
    device: Asked,
    cloud: Asked,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None],
) -> Labelled:
    """One label a question, in order."""
    labels = []
    for done, question in enumerate(questions):
        progress(done, len(questions))
        labels.append(await label_one(device, cloud, question, max_tokens=max_tokens))
    progress(len(questions), len(questions))
    return labelled_of(labels, questions)


async def label_one(device: Asked, cloud: Asked, question: Question, *, max_tokens: int) -> Label:
    """Raises ``EngineError`` when the device's engine leaves out what it was asked for."""
    here = await _answer(device, question.prompt, max_tokens, observed=True)
    there = await _answer(cloud, question.prompt, max_tokens, observed=False)
    hidden = here.prefilled.hidden_state
    if hidden is None:
        raise EngineError("the engine left out the hidden state it was asked for")
    return Label(
        device_good=question.good(here.text),
        cloud_good=question.good(there.text),
        values=_signals(here),
        hidden=hidden,
    )


def labelled_of(labels: Sequence[Label], questions: Sequence[Question]) -> Labelled:
    """As the fit takes them; both in the same order."""
    return Labelled(
        columns={
            name: np.array([each.values[name] for each in labels]) for name in labels[0].values
        },
        hidden=np.array([each.hidden for each in labels], dtype=np.float64),
        outcomes=Outcomes(
            device_good=np.array([each.device_good for each in labels]),
            cloud_good=np.array([each.cloud_good for each in labels]),
            groups=[question.group for question in questions],
        ),
        categories=[question.category for question in questions],
    )


async def _answer(model: Asked, prompt: str, max_tokens: int, *, observed: bool) -> _Answer:
    ids = model.text.render([ChatMessage(role="user", text=Content(prompt))])
    options = GenerateOptions(
        max_tokens=max_tokens,
        stop_ids=model.text.stop_ids,
        statistics=observed,
        hidden_state=observed,
    )
    stream, said, tokens = model.text.decoder(), list[str](), list[Token]()
    prefilled, ended = None, False
    events = model.engine.submit(ids, options)
    try:
        async for event in events:
            if isinstance(event, Prefilled):
                prefilled = event
            elif isinstance(event, Token):
                said.append(stream.push(event.id))
                tokens.append(event)
                if stream.stopped:
                    ended = True
                    break
            elif isinstance(event, Finished):
                ended = event.reason == "stop"
    finally:
        await events.aclose()
    if prefilled is None:
        raise EngineError("the engine gave no prefill")
    text = Content("".join([*said, stream.finish()]))
    return _Answer(text=text, prefilled=prefilled, tokens=tuple(tokens), finished=ended)


def _signals(answer: _Answer) -> dict[str, float]:
    """Every signal by name, NaN where it could not be measured."""
    first = answer.prefilled.statistics
    if first is None:
        raise EngineError("the engine left out the statistics it was asked for")
    prefill = PrefillObservation(
        input_tokens=answer.prefilled.input_tokens,
        entropy=first.entropy,
        margin=first.margin,
        top_probability=first.top_probability,
    )
    draft, whole = _draft(answer), _whole(answer)
    raw = (
        {s.name: s.measure(prefill) for s in PREFILL_SIGNALS}
        | {s.name: s.measure(draft) for s in DRAFT_SIGNALS}
        | {s.name: s.measure(whole) for s in ANSWER_SIGNALS}
    )
    return {name: float("nan") if value is None else value for name, value in raw.items()}


def _draft(answer: _Answer) -> DecodeObservation:
    """The first tokens, as the router would see them."""
    shown = [t for t in answer.tokens[:DRAFT_TOKENS] if t.statistics is not None]
    seen = [t.statistics for t in shown if t.statistics is not None]
    return DecodeObservation(
        ids=np.array([token.id for token in shown], dtype=np.int64),
        entropy=np.array([s.entropy for s in seen], dtype=np.float64),
        margin=np.array([s.margin for s in seen], dtype=np.float64),
        finished=answer.finished and len(answer.tokens) <= DRAFT_TOKENS,
    )


def _whole(answer: _Answer) -> AnswerObservation:
    seen = [token.statistics for token in answer.tokens if token.statistics is not None]
    return AnswerObservation(
        entropy=np.array([s.entropy for s in seen], dtype=np.float64),
        margin=np.array([s.margin for s in seen], dtype=np.float64),
        top_probability=np.array([s.top_probability for s in seen], dtype=np.float64),
    )
