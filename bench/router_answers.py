"""Asks both models every question and writes ids and numbers, one JSON line a question.

The lines hold no text: signals of the device model's prefill and draft, and whether each side's
answer was right. A run that was stopped goes on where it ended.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from question_sets import Question

from inference.engine import Finished, GenerateOptions, Prefilled, Token, TokenStatistics
from inference.process import ProcessEngine
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.content import Content
from router import DecodeObservation, PrefillObservation
from router.signals import (
    PREFILL_SIGNALS,
    DraftEntropy,
    DraftMargin,
    DraftRepetition,
)

CONTEXT_TOKENS = 2048
DRAFT_TOKENS = 16
WINDOW = 8
DRAFT_SIGNALS = (DraftEntropy(WINDOW), DraftMargin(WINDOW), DraftRepetition(WINDOW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One model, loaded."""

    engine: ProcessEngine
    text: TextModel

    @classmethod
    async def load(cls, folder: Path, *, threads: int) -> "Asked":
        text = load_text_model(folder)
        engine = await ProcessEngine.start(folder, context_tokens=CONTEXT_TOKENS, threads=threads)
        return cls(engine=engine, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    text: str
    prefilled: Prefilled
    tokens: tuple[Token, ...]
    finished: bool


async def ask_all(
    device: Asked,
    cloud: Asked,
    questions: Sequence[Question],
    raw: Path,
    *,
    max_tokens: int,
    budget_s: float,
) -> None:
    """Append a line for each question not in ``raw`` yet, until the budget is spent."""
    known = {json.loads(line)["id"] for line in _lines(raw)}
    began = time.monotonic()
    with raw.open("a", encoding="utf-8") as file:
        for question in questions:
            if question.id in known:
                continue
            if time.monotonic() - began > budget_s:
                print(f"budget of {budget_s:g} s spent")
                return
            row = await _row(device, cloud, question, max_tokens)
            file.write(json.dumps(row) + "\n")
            file.flush()


def read(raw: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(raw)]


def _lines(raw: Path) -> list[str]:
    return raw.read_text(encoding="utf-8").splitlines() if raw.exists() else []


async def _row(device: Asked, cloud: Asked, question: Question, max_tokens: int) -> dict[str, Any]:
    here = await _answer(device, question.prompt, max_tokens, statistics=True)
    there = await _answer(cloud, question.prompt, max_tokens, statistics=False)
    return {
        "id": question.id,
        "set": question.set,
        "device_good": question.good(here.text),
        "cloud_good": question.good(there.text),
        "device_tokens": len(here.tokens),
        "cloud_tokens": len(there.tokens),
        **_signals(here),
    }


async def _answer(model: Asked, prompt: str, max_tokens: int, *, statistics: bool) -> Answer:
    ids = model.text.render([ChatMessage(role="user", text=Content(prompt))])
    options = GenerateOptions(
        max_tokens=max_tokens, stop_ids=model.text.stop_ids, statistics=statistics
    )
    stream, said, tokens = model.text.decoder(), [], []
    prefilled, ended = None, False
    events = model.engine.submit(ids, options)
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
    await events.aclose()
    if prefilled is None:
        raise RuntimeError("no prefill")
    text = "".join([*said, stream.finish()])
    return Answer(text=text, prefilled=prefilled, tokens=tuple(tokens), finished=ended)


def _signals(answer: Answer) -> dict[str, float | None]:
    first = answer.prefilled.statistics
    if first is None:
        raise RuntimeError("the engine gave no statistics")
    prefill = PrefillObservation(
        input_tokens=answer.prefilled.input_tokens,
        entropy=first.entropy,
        margin=first.margin,
        top_probability=first.top_probability,
    )
    draft = _draft(answer)
    return {s.name: s.measure(prefill) for s in PREFILL_SIGNALS} | {
        s.name: s.measure(draft) for s in DRAFT_SIGNALS
    }


def _draft(answer: Answer) -> DecodeObservation:
    """The first tokens, as the router would see them."""
    shown = answer.tokens[:DRAFT_TOKENS]
    seen: list[TokenStatistics] = [t.statistics for t in shown if t.statistics is not None]
    return DecodeObservation(
        ids=np.array([token.id for token in shown], dtype=np.int64),
        entropy=np.array([s.entropy for s in seen]),
        margin=np.array([s.margin for s in seen]),
        finished=len(answer.tokens) <= DRAFT_TOKENS and answer.finished,
    )
