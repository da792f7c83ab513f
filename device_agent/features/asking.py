"""What all features share: where they ask, how, and what they keep of each reply.

A feature asks nothing of its own: each request goes through ``AsyncSession.respond``, so rules,
hooks, ledger and traces hold for it as for any other.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from device_agent.agent import AsyncAgent
from device_agent.budget import Budget
from device_agent.features.likelihood import Likelihood, Said, log_likelihoods
from device_agent.given import refuse_unknown
from device_agent.options import Options
from device_agent.reply import Reply
from device_agent.session import AsyncSession
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import DeadlineExceeded, ModelError, UsageError
from router.vocabulary import DataClass, Mode

__all__ = ["Featured", "Task", "Where", "check_text", "task"]

Where = AsyncAgent | AsyncSession
"""An agent, or a session whose mode, data class, consent and hooks are to hold."""


class Featured(TypedDict, total=False):
    """The keywords of every feature.

    ``mode``, ``data_class`` and ``consent`` default to those of where it is asked. ``adapter``: an
    installed adapter made for this; only the device has those. ``instructions``: in place of the
    feature's own. ``max_tokens``: of one answer. ``timeout_s``: for all requests of the call.
    ``category``: the app's word for the router's bounds; the feature's name by default.
    """

    mode: Mode | None
    data_class: DataClass | None
    consent: bool | None
    adapter: str | None
    instructions: str | None
    max_tokens: int | None
    timeout_s: float | None
    category: str | None


@dataclass(slots=True, kw_only=True)
class Task:
    """One call of a feature: requests that know nothing of each other, and their replies."""

    session: AsyncSession
    """Holds the instructions and nothing else; never asked itself, only its forks."""
    asked: Featured
    category: str
    until: float | None
    replies: list[Reply[Any]] = field(default_factory=list)

    async def ask(self, prompt: str, *, into: Any = None, max_tokens: int) -> Reply[Any]:
        """Raises as ``AsyncSession.respond`` does."""
        reply: Reply[Any] = await self.session.fork().respond(
            prompt,
            into=into,
            options=self.options(max_tokens),
            mode=self.asked.get("mode"),
            data_class=self.asked.get("data_class"),
            consent=self.asked.get("consent"),
            category=self.category,
            timeout_s=self._left_s(),
        )
        self.replies.append(reply)
        return reply

    def options(self, max_tokens: int) -> Options:
        return Options(
            max_tokens=self.asked.get("max_tokens") or max_tokens,
            adapter=self.asked.get("adapter"),
            speculation=True,  # most of them copy; where one does not, it ends by itself
        )

    async def budget(self, prompt: str = "") -> Budget | None:
        """Of the device's context; ``None`` where no device model is there to count."""
        try:
            return await self.session.budget(prompt)
        except ModelError:
            return None

    async def likelihoods(self, said: Sequence[Said]) -> list[Likelihood]:
        """See ``log_likelihoods``; within ``timeout_s``."""
        try:
            async with asyncio.timeout_at(self.until):
                return await log_likelihoods(self.session, said, adapter=self.asked.get("adapter"))
        except TimeoutError:
            raise _too_late() from None

    def instruct(self, instructions: str) -> None:
        """For the requests that follow; the app's own instructions win. Empty: none."""
        words = self.asked.get("instructions") or instructions
        self.session.restore([ChatMessage(role="system", text=Content(words))] if words else [])

    def _left_s(self) -> float | None:
        if self.until is None:
            return None
        left = self.until - asyncio.get_running_loop().time()
        if left <= 0:
            raise _too_late()
        return left


def task(where: Where, name: str, instructions: str, asked: Featured) -> Task:
    """Raises ``TypeError`` for unknown keywords, ``UsageError`` for a bad ``timeout_s``."""
    refuse_unknown(asked, Featured.__annotations__)
    timeout = asked.get("timeout_s")
    if timeout is not None and not timeout > 0:
        raise UsageError("timeout_s is not above 0")
    made = Task(
        session=where.session() if isinstance(where, AsyncAgent) else where.fork(),
        asked=asked,
        category=asked.get("category") or name,
        until=None if timeout is None else asyncio.get_running_loop().time() + timeout,
    )
    made.instruct(instructions)
    return made


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the work was not done in timeout_s")


def check_text(text: str) -> str:
    """Raises ``UsageError`` for one that is empty."""
    if not text.strip():
        raise UsageError("the text is empty", hint="give some text")
    return text
