"""How likely the device's model finds a text: small models judge by it better than by words.

The engine is held to the text, token by token, and says the probability of each. Runs on the device
alone, whatever the mode: nothing here can leave it.

"Noisy channel" scoring, P(text | label) in place of P(label | text): Min et al. 2022,
https://arxiv.org/abs/2108.04106
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_agent.local import Device
from device_agent.session import AsyncSession
from inference.engine import Engine, GenerateOptions, Token
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import EngineError

__all__ = ["Forced", "Likelihood", "Said", "log_likelihoods"]

MAX_TOKENS: Final = 64
"""Of one text that are scored; more of it seldom changes what explains it best."""
AT_ONCE: Final = 8
"""Requests in the engine; each holds a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was asked, how the answer began, and the rest of it, whose likelihood is wanted."""

    prompt: str = field(repr=False)
    lead: str = field(default="", repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Natural log of P(text | prompt, lead), over the first ``tokens`` tokens of the text."""

    log: float
    tokens: int

    @property
    def mean(self) -> float:
        """A token: for texts of any length."""
        return self.log / self.tokens


async def log_likelihoods(
    session: AsyncSession, said: Sequence[Said], *, adapter: str | None = None
) -> list[Likelihood]:
    """Of each; the first ``MAX_TOKENS`` tokens of a text count.

    The session lends its device, not its transcript; all take one place among its requests.
    Raises ``ModelError``, ``EngineError`` or ``Busy``.
    """
    device, turns = session._runtime.device, asyncio.Semaphore(AT_ONCE)

    async def one(each: Said) -> Likelihood:
        async with turns:
            return await _log_likelihood(device, each, adapter)

    try:
        async with session._runtime.places.take(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in said]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the others were cancelled for it
    return [task.result() for task in tasks]


async def _log_likelihood(device: Device, said: Said, adapter: str | None) -> Likelihood:
    model, engine = await device.text(), await device.engine()
    forced = tuple(model.encode(said.text))[:MAX_TOKENS]
    asked = model.render([ChatMessage(role="user", text=Content(said.prompt))])
    ids = (*asked, *model.encode(said.lead))
    options = GenerateOptions(max_tokens=len(forced), statistics=True)
    events = engine.submit(ids, options, adapter=adapter, constraint=Forced(forced, engine))
    total, seen = 0.0, 0
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, Token):
                total, seen = total + _chosen(event), seen + 1
    if not forced or seen < len(forced):
        raise EngineError("the engine ended before the text did")
    return Likelihood(log=total, tokens=seen)


class Forced:
    """A ``Constraint`` that leaves one token at each step."""

    def __init__(self, ids: Sequence[int], engine: Engine) -> None:
        self.ids = tuple(ids)
        self._words = -(-engine.info.vocabulary // 32)

    def __repr__(self) -> str:
        return f"<forced: {len(self.ids)} tokens>"

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32]:
        """See ``Constraint.allowed``."""
        token = self.ids[min(len(generated), len(self.ids) - 1)]
        mask = np.zeros(self._words, dtype=np.uint32)
        mask[token // 32] = np.uint32(1 << (token % 32))
        return mask


def _chosen(token: Token) -> float:
    statistics = token.statistics
    if statistics is None or statistics.chosen_log_probability is None:
        raise EngineError("the engine left out the statistics it was asked for")
    return statistics.chosen_log_probability
