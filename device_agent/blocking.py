"""The blocking twin: the async core run by one thread of its own. No logic of its own.

Every call is handed to the core's event loop and awaited there, so there is one code path, one
crypto path. The thread starts with the agent and ends with ``close``.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack, overload

from typing_extensions import TypeVar

from device_agent.agent import AsyncAgent
from device_agent.asking import Asking
from device_agent.availability import Availability
from device_agent.blocking_stream import Stream
from device_agent.budget import Budget
from device_agent.departure import Approve, Redact
from device_agent.guardrails import Guardrails
from device_agent.ledger import Ledger
from device_agent.portal import Portal
from device_agent.reply import Reply
from device_agent.session import AsyncSession, Overflow
from inference.text import ChatMessage
from lanai.content import Content
from lanai.folders import Folders
from router.decision import Decision
from router.vocabulary import DataClass, Mode

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from inference.guided import Choices, JsonSchema, Regex

__all__ = ["Agent", "Session", "Stream"]

T = TypeVar("T", default=Content)


class Agent:
    """``with Agent.from_config() as agent``: the same as ``AsyncAgent``, for code without async."""

    def __init__(self, agent: AsyncAgent) -> None:
        self._agent = agent
        self._portal = Portal()

    @classmethod
    def from_config(cls, *, folders: Folders | None = None, **flags: Any) -> "Agent":
        """From the user's settings; ``flags`` are settings that win. Raises ``ConfigError``."""
        return cls(AsyncAgent.from_config(folders=folders, **flags))

    def __enter__(self) -> "Agent":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engine's child and the thread. Idempotent."""
        if not self._portal.open:
            return
        try:
            self._portal.call(self._agent.close())
        finally:
            self._portal.close()

    def availability(self) -> Availability:
        """What could answer now. True when something could."""
        return self._portal.call(self._agent.availability())

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
    ) -> "Session":
        """A new conversation; see ``AsyncAgent.session``. The hooks run in the agent's thread."""
        session = self._agent.session(
            instructions=instructions,
            mode=mode,
            data_class=data_class,
            consent=consent,
            redact=redact,
            approve=approve,
            guardrails=guardrails,
            overflow=overflow,
        )
        return Session(session, self._portal)

    def grade(
        self, trace_id: str, *, device_good: bool | None = None, cloud_good: bool | None = None
    ) -> Decision:
        """Say afterwards whether a request's answers were right; see ``AsyncAgent.grade``."""
        return self._portal.call(
            self._agent.grade(trace_id, device_good=device_good, cloud_good=cloud_good)
        )

    @property
    def guardrails(self) -> Guardrails:
        """Of sessions for which the app names none."""
        return self._agent.guardrails

    @property
    def ledger(self) -> Ledger:
        """What left this device."""
        return self._agent.ledger


class Session:
    """A conversation; see ``AsyncSession``."""

    def __init__(self, session: AsyncSession, portal: Portal) -> None:
        self._session = session
        self._portal = portal

    @property
    def transcript(self) -> tuple[ChatMessage, ...]:
        return self._session.transcript

    def restore(
        self, messages: Iterable[ChatMessage], *, data_class: DataClass | str = DataClass.PUBLIC
    ) -> None:
        """Go on after ``messages``, which replace all that was said here."""
        self._session.restore(messages, data_class=data_class)

    @property
    def held_class(self) -> DataClass:
        """Of what was said so far."""
        return self._session.held_class

    def fork(self) -> "Session":
        """Another session that goes on from here."""
        return Session(self._session.fork(), self._portal)

    def budget(self, prompt: str = "") -> Budget:
        """Tokens of what was said and ``prompt``, and the room."""
        return self._portal.call(self._session.budget(prompt))

    def compact(self, *, keep: int = 2, max_tokens: int = 160) -> bool:
        """Tell all but the last messages in a summary; see ``AsyncSession.compact``."""
        return self._portal.call(self._session.compact(keep=keep, max_tokens=max_tokens))

    def prewarm(self, prompt_prefix: str = "") -> None:
        """Have the model loaded; see ``AsyncSession.prewarm``."""
        self._portal.call(self._session.prewarm(prompt_prefix))

    @overload
    def respond(
        self, prompt: str | None, *, into: None = None, **asking: Unpack[Asking]
    ) -> Reply[Content]: ...
    @overload
    def respond(
        self, prompt: str | None, *, into: "JsonSchema | dict[str, Any]", **asking: Unpack[Asking]
    ) -> Reply[Any]: ...
    @overload
    def respond(
        self, prompt: str | None, *, into: "Regex | Choices", **asking: Unpack[Asking]
    ) -> Reply[Content]: ...
    @overload
    def respond(
        self, prompt: str | None, *, into: "type[T] | TypeAdapter[T]", **asking: Unpack[Asking]
    ) -> Reply[T]: ...
    def respond(
        self, prompt: str | None, *, into: Any = None, **asking: Unpack[Asking]
    ) -> Reply[Any]:
        """Answer one prompt; see ``AsyncSession.respond``.

        Raises any ``LanaiError``; the transcript is then unchanged.
        """
        return self._portal.call(self._session.respond(prompt, into=into, **asking))

    @overload
    def stream(
        self, prompt: str | None, *, into: None = None, **asking: Unpack[Asking]
    ) -> Stream[Content]: ...
    @overload
    def stream(
        self, prompt: str | None, *, into: "JsonSchema | dict[str, Any]", **asking: Unpack[Asking]
    ) -> Stream[Any]: ...
    @overload
    def stream(
        self, prompt: str | None, *, into: "Regex | Choices", **asking: Unpack[Asking]
    ) -> Stream[Content]: ...
    @overload
    def stream(
        self, prompt: str | None, *, into: "type[T] | TypeAdapter[T]", **asking: Unpack[Asking]
    ) -> Stream[T]: ...
    def stream(
        self, prompt: str | None, *, into: Any = None, **asking: Unpack[Asking]
    ) -> Stream[Any]:
        """The same, piece by piece: ``with session.stream(...) as stream``."""
        return Stream(self._session.stream(prompt, into=into, **asking), self._portal)
