"""Asks both models of a pair the same questions, grades them, and keeps numbers only.

1. The device model answers; its prefill, first token and early tokens give the signals.
2. The cloud model answers here, in the clear: training needs no cluster.
3. Both answers are graded and forgotten.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_agent.grading import Question
from inference.engine import Engine, Finished, GenerateOptions, Prefilled, Token
from inference.text import ChatMessage, TextModel
from lanai.content import Content
from lanai.errors import EngineError
from router import DecodeObservation, PrefillObservation
from router.evaluation import Outcomes
from router.signals import PREFILL_SIGNALS, DraftEntropy, DraftMargin, DraftRepetition
from router.training import Labelled

__all__ = ["Asked", "label"]

DRAFT_TOKENS = 16
WINDOW = 8
DRAFT_SIGNALS = (DraftEntropy(WINDOW), DraftMargin(WINDOW), DraftRepetition(WINDOW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One model, loaded."""

    engine: Engine
    text: TextModel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    text: Content
    prefilled: Prefilled
    tokens: tuple[Token, ...]
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    device_good: bool
    cloud_good: bool
    values: dict[str, float]
    hidden: NDArray[np.float32]


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
        labels.append(await _label(device, cloud, question, max_tokens))
    progress(len(questions), len(questions))
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


async def _label(device: Asked, cloud: Asked, question: Question, max_tokens: int) -> _Label:
    here = await _answer(device, question.prompt, max_tokens, observed=True)
    there = await _answer(cloud, question.prompt, max_tokens, observed=False)
    hidden = here.prefilled.hidden_state
    if hidden is None:
        raise EngineError("the engine left out the hidden state it was asked for")
    return _Label(
        device_good=question.good(here.text),
        cloud_good=question.good(there.text),
        values=_signals(here),
        hidden=hidden,
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
    draft = _draft(answer)
    raw = {s.name: s.measure(prefill) for s in PREFILL_SIGNALS} | {
        s.name: s.measure(draft) for s in DRAFT_SIGNALS
    }
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
