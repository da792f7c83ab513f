"""A conversation: its transcript, and one request at a time.

A turn joins the transcript only when it ended whole. After an error, a break or a cancelled stream
the transcript is as it was before.
"""

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from typing_extensions import TypeVar

from device_agent.asking import Asking, Defaults, prompted
from device_agent.budget import Budget, budget_of, warm
from device_agent.compacting import compact
from device_agent.departure import STAY_AS_IT_IS, Departure
from device_agent.given import messages_of, text_of, word_of
from device_agent.guardrails import UNGUARDED, Guardrails
from device_agent.reply import Reply
from device_agent.rounds import Prompted, Rounds, higher
from device_agent.runtime import Runtime
from device_agent.stream import AsyncStream
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import UsageError
from router.vocabulary import DataClass, Destination, Mode

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from inference.guided import Choices, JsonSchema, Regex

__all__ = ["AsyncSession", "AsyncStream", "Overflow"]

Overflow = Literal["raise", "summarize"]
"""What to do with a conversation that no longer fits the device."""

T = TypeVar("T", default=Content)


class AsyncSession:
    """Made by ``AsyncAgent.session``. Several sessions may run side by side over one model."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        instructions: str | None,
        mode: Mode,
        data_class: DataClass,
        consent: bool | None,
        max_output_tokens: int,
        departure: Departure = STAY_AS_IT_IS,
        guardrails: Guardrails = UNGUARDED,
        overflow: Overflow = "raise",
    ) -> None:
        if overflow not in ("raise", "summarize"):
            raise UsageError("overflow is neither `raise` nor `summarize`")
        self.overflow = overflow
        self.mode = mode
        self.data_class = data_class
        self.consent = consent
        self._runtime = runtime
        self._max_output_tokens = max_output_tokens
        self._departure = departure
        self._guardrails = guardrails
        self._busy = False
        # What tools returned stays in the transcript, so its class holds for all that follows.
        self._results_class = DataClass.PUBLIC
        self._ran_on: Destination | None = None
        self._transcript: list[ChatMessage] = []
        if instructions:
            self._transcript.append(ChatMessage(role="system", text=Content(instructions)))

    @property
    def transcript(self) -> tuple[ChatMessage, ...]:
        """What was said so far; content, so never log it."""
        return tuple(self._transcript)

    def restore(
        self, messages: Iterable[ChatMessage], *, data_class: DataClass | str = DataClass.PUBLIC
    ) -> None:
        """Go on after ``messages``, which replace all that was said here. Raises ``UsageError``.

        ``data_class``: of what they hold; requests of this session are at least of it, and of
        what it held before.
        """
        if self._busy:
            raise UsageError("this session is answering a prompt", hint="restore it afterwards")
        said, held = messages_of(messages), word_of(DataClass, data_class, "data_class")
        self._transcript = said
        self._results_class = higher(self._results_class, held)
        self._ran_on = None

    @property
    def held_class(self) -> DataClass:
        """Of what was said so far: the session's own, or what its tools returned."""
        return higher(self.data_class, self._results_class)

    def fork(self) -> "AsyncSession":
        """Another session that goes on from here; neither sees what the other says then."""
        twin = copy(self)
        twin._transcript = list(self._transcript)
        twin._busy = False
        return twin

    async def budget(self, prompt: str = "") -> Budget:
        """Tokens of what was said and ``prompt``, and the room. Raises ``ModelError``."""
        said = self._messages(prompt) if prompt else tuple(self._transcript)
        return await budget_of(self._runtime.device, said)

    async def compact(self, *, keep: int = 2, max_tokens: int = 160) -> bool:
        """After ``ContextOverflow``: tell all but the last ``keep`` messages in a summary.

        The model writes it, in requests like any other of this session. Returns whether there was
        anything to shorten; raises as ``respond`` does, and then nothing changed.
        """
        return await compact(self, keep=keep, max_tokens=max_tokens)

    async def prewarm(self, prompt_prefix: str = "") -> None:
        """Have the model loaded, and the prompt's beginning run once, before the first prompt.

        The cache is not kept for the prompt that follows: no request shares another's.
        Raises ``ModelError`` or ``EngineError``.
        """
        self._runtime.places.require_open()
        said = self._messages(prompt_prefix) if prompt_prefix else tuple(self._transcript)
        await warm(self._runtime.device, said)

    @overload
    async def respond(
        self, prompt: str | None, *, into: None = None, **asking: Unpack[Asking]
    ) -> Reply[Content]: ...
    @overload
    async def respond(
        self,
        prompt: str | None,
        *,
        into: "JsonSchema | dict[str, Any]",
        **asking: Unpack[Asking],
    ) -> Reply[Any]: ...
    @overload
    async def respond(
        self, prompt: str | None, *, into: "Regex | Choices", **asking: Unpack[Asking]
    ) -> Reply[Content]: ...
    @overload
    async def respond(
        self, prompt: str | None, *, into: "type[T] | TypeAdapter[T]", **asking: Unpack[Asking]
    ) -> Reply[T]: ...
    async def respond(
        self, prompt: str | None, *, into: Any = None, **asking: Unpack[Asking]
    ) -> Reply[Any]:
        """Answer one prompt. Raises any ``LanaiError``; the transcript is then unchanged.

        ``into``: what the answer is to become, enforced while it is decoded and given as
        ``reply.value``: a Pydantic model or another type Pydantic knows, a JSON Schema as a dict,
        ``Regex`` or ``Choices``. ``prompt`` ``None``: go on after what ``restore`` left, a user's
        message or a tool's. The other keywords: see ``Asking``.
        """
        stream = self.stream(prompt, into=into, **asking)
        stream.show_at_once()
        async with stream:
            async for _ in stream:
                pass
        return stream.final

    @overload
    def stream(
        self, prompt: str | None, *, into: None = None, **asking: Unpack[Asking]
    ) -> "AsyncStream[Content]": ...
    @overload
    def stream(
        self,
        prompt: str | None,
        *,
        into: "JsonSchema | dict[str, Any]",
        **asking: Unpack[Asking],
    ) -> "AsyncStream[Any]": ...
    @overload
    def stream(
        self, prompt: str | None, *, into: "Regex | Choices", **asking: Unpack[Asking]
    ) -> "AsyncStream[Content]": ...
    @overload
    def stream(
        self, prompt: str | None, *, into: "type[T] | TypeAdapter[T]", **asking: Unpack[Asking]
    ) -> "AsyncStream[T]": ...
    def stream(
        self, prompt: str | None, *, into: Any = None, **asking: Unpack[Asking]
    ) -> "AsyncStream[Any]":
        """The same, piece by piece: ``async with session.stream(...) as stream``."""
        defaults = Defaults(
            mode=self.mode,
            data_class=self.data_class,
            least_class=self._results_class,
            consent=self.consent,
            max_output_tokens=self._max_output_tokens,
            ran_on=self._ran_on,
            departure=self._departure,
            guardrails=self._guardrails,
        )
        return AsyncStream(self, prompted(self._messages(prompt), into, asking, defaults))

    def _messages(self, prompt: str | None) -> tuple[ChatMessage, ...]:
        if prompt is None:
            if not self._transcript or self._transcript[-1].role not in ("user", "tool"):
                raise UsageError("there is nothing to go on after", hint="give a prompt")
            return tuple(self._transcript)
        if not text_of(prompt, "prompt").strip():
            raise UsageError("the prompt is empty", hint="say something")
        return (*self._transcript, ChatMessage(role="user", text=Content(prompt)))

    def _begin(self, request: Prompted) -> Rounds:
        self._runtime.places.require_open()
        if self._busy:
            raise UsageError(
                "this session is answering another prompt", hint="await it, or use a second session"
            )
        self._busy = True
        return Rounds(self._runtime, request)

    def _end(self, rounds: Rounds | None) -> None:
        self._busy = False
        if rounds is None or (reply := rounds.reply) is None:
            return
        answer = ChatMessage(role="assistant", text=reply.text, tool_calls=reply.tool_calls)
        self._transcript = [*rounds.ask.messages, answer]
        if self._ran_on is not Destination.CLOUD:
            self._ran_on = reply.source
        for run in reply.tool_runs:
            self._results_class = higher(self._results_class, run.data_class)
