"""Asking one model many questions in this process, several at once; greedy.

The adapter is in every pass, as it is when a model is loaded with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from bench.instruction.chat_form import in_chat_form
from inference.adapters import read_adapter
from inference.decoder_runner import DecoderRunner
from inference.engine import Finished, GenerateOptions, Token
from inference.scheduler import RequestFailed, Scheduler
from inference.text import ChatMessage, TextModel, TextStream, load_text_model
from lanai.content import Content
from lanai.errors import EngineError

__all__ = ["Answer", "ask_all", "load_model"]

CONTEXT_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``ended``: by the model's own stop, not by the bound."""

    text: str = field(repr=False)
    tokens: int
    ended: bool


@dataclass(slots=True, kw_only=True)
class _Open:
    stream: TextStream
    said: list[str] = field(repr=False)
    tokens: int = 0


def load_model(path: Path, adapter: Path | None) -> tuple[DecoderRunner, TextModel]:
    """The model as a node would load it; with an adapter in chat form, else in its own form."""
    from inference.decoder import load_decoder  # imports torch

    decoder = load_decoder(path, context_tokens=CONTEXT_TOKENS)
    if adapter is None:
        return DecoderRunner(decoder), load_text_model(path)
    decoder.keep_on(read_adapter(adapter, decoder.config))
    return DecoderRunner(decoder), in_chat_form(path)


def ask_all(
    runner: DecoderRunner,
    text: TextModel,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[int, Answer]]:
    """Answers as they end, each with the index of its prompt."""
    scheduler, live = Scheduler(runner), dict[str, _Open]()
    options = GenerateOptions(max_tokens=max_tokens, stop_ids=text.stop_ids)
    for number, prompt in enumerate(prompts):
        ids = text.render([ChatMessage(role="user", text=Content(prompt))])
        scheduler.submit(str(number), np.array(ids, dtype=np.int32), options)
        live[str(number)] = _Open(stream=text.decoder(), said=[])
    while live:
        for request, event in [*scheduler.step()]:
            one = live.get(request)
            if one is None:
                continue
            if isinstance(event, RequestFailed):
                raise EngineError("a question could not be asked")
            if isinstance(event, Token):
                one.said.append(one.stream.push(event.id))
                one.tokens += 1
            stopped = one.stream.stopped
            if stopped:
                list(scheduler.cancel(request))
            if stopped or isinstance(event, Finished):
                ended = stopped or (isinstance(event, Finished) and event.reason == "stop")
                del live[request]
                progress(len(prompts) - len(live), len(prompts))
                said = "".join([*one.said, one.stream.finish()])
                yield int(request), Answer(text=said.strip(), tokens=one.tokens, ended=ended)
