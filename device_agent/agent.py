"""The agent: owns the device model, the enrolled cloud, the trace store and the ledger.

Nothing is started before it is needed: no child process before the first answer on the device, no
connection before the first request that may leave.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

from device_agent.assembling import open_tracing, runtime_of
from device_agent.availability import Availability
from device_agent.departure import Approve, Departure, Redact
from device_agent.given import consent_of, hook, text_of, word_of
from device_agent.grades import grade
from device_agent.guardrails import Guardrails, guardrails_of
from device_agent.ledger import Ledger
from device_agent.runtime import Runtime
from device_agent.session import AsyncSession, Overflow
from device_agent.surroundings import Surroundings
from lanai.folders import Folders
from lanai.settings import Settings
from router import DataClass, Decision, Mode
from router.recorded import Graded

__all__ = ["AsyncAgent", "open_tracing"]


class AsyncAgent:
    """``async with AsyncAgent.from_config() as agent``. Leaving the block ends the engine's child.

    Sessions must not be used after the block. ``runtime`` is for tests and embedders; apps use
    ``from_config``.
    """

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings

    @classmethod
    def from_config(
        cls,
        *,
        folders: Folders | None = None,
        surroundings: Surroundings | None = None,
        **flags: Any,
    ) -> "AsyncAgent":
        """From the user's settings; ``flags`` are settings that win. Raises ``ConfigError``.

        ``surroundings``: the app's own word on battery, heat and network, in place of the system's.
        """
        folders = folders or Folders.standard()
        settings = Settings.load(flags=flags, folders=folders).settings
        return cls(runtime_of(settings, folders, surroundings), settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the engine's child, the cloud's channel and the stores. Idempotent.

        After it every request is a ``UsageError``: none starts a child that nobody would end.
        """
        self._runtime.places.close()
        try:
            await self._runtime.device.close()
        finally:
            try:
                await self._runtime.cloud.close()
            finally:
                await self._close_rest()

    async def _close_rest(self) -> None:
        try:
            if self._runtime.external is not None:
                await self._runtime.external.close()
        finally:
            await asyncio.to_thread(self._runtime.tracing.close)

    async def availability(self) -> Availability:
        """What could answer now; asks the cloud, starts no model. True when something could."""
        device, cloud = await asyncio.gather(
            self._runtime.device.state(), self._runtime.cloud.state()
        )
        return Availability(device=device, cloud=cloud.part)

    def session(
        self,
        *,
        instructions: str | None = None,
        mode: Mode | str | None = None,
        data_class: DataClass | str = DataClass.PERSONAL,
        consent: bool | None = None,
        redact: Redact | None = None,
        approve: Approve | None = None,
        guardrails: Guardrails | None = None,
        overflow: Overflow = "raise",
    ) -> AsyncSession:
        """A new conversation.

        ``data_class`` ``secret`` never leaves the device. ``consent``: the user's word on leaving
        it, ``None`` when nobody asked (the routing policy then says). ``redact`` and ``approve``:
        the app's last word on each request that would leave (`device_agent.departure`).
        ``guardrails``: what is refused (`device_agent.guardrails`); unset: as the settings say.
        ``overflow`` ``summarize``: where a prompt no longer fits the device, the oldest messages
        are told in a summary first; ``reply.summarized`` counts them.
        """
        return AsyncSession(
            self._runtime,
            instructions=None if instructions is None else text_of(instructions, "instructions"),
            mode=word_of(Mode, mode or self._settings.mode, "mode"),
            data_class=word_of(DataClass, data_class, "data_class"),
            consent=consent_of(consent),
            max_output_tokens=self._settings.max_output_tokens,
            departure=Departure(redact=hook(redact, "redact"), approve=hook(approve, "approve")),
            guardrails=self.guardrails if guardrails is None else guardrails,
            overflow=overflow,
        )

    @property
    def guardrails(self) -> Guardrails:
        """Of sessions for which the app names none: as the settings say."""
        return guardrails_of(self._settings)

    @property
    def ledger(self) -> Ledger:
        """What left this device."""
        return self._runtime.ledger

    @property
    def traces_lost(self) -> int:
        """Requests of this agent whose trace could not be stored."""
        return self._runtime.tracing.lost

    async def grade(
        self, trace_id: str, *, device_good: bool | None = None, cloud_good: bool | None = None
    ) -> Decision:
        """Say afterwards whether a request's answers were right; once for each request.

        The bound of regret is watched by it: grade requests drawn at random. ``None``: that side's
        answer is not known. Raises ``TraceError`` where the trace is not there, ``UsageError`` for
        a second grade, an empty one, and a request that ran nowhere.
        """
        runtime = self._runtime
        graded = Graded(device_good=device_good, cloud_good=cloud_good)
        return await asyncio.to_thread(
            grade, runtime.tracing.store, runtime.memory, runtime.router, trace_id, graded
        )
