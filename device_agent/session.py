"""A conversation: its transcript, and one request at a time.

A turn joins the transcript only when it ended whole. After an error, a break or a cancelled stream
the transcript is as it was before.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from types import TracebackType

from device_agent.options import Options
from device_agent.reply import Reply, TextEvent
from device_agent.runtime import Ask, Runtime
from device_agent.turn import Turn
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import UsageError
from router.decision import Decision
from router.vocabulary import DataClass, Mode

__all__ = ["AsyncSession", "AsyncStream"]


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
    ) -> None:
        self.mode = mode
        self.data_class = data_class
        self.consent = consent
        self._runtime = runtime
        self._max_output_tokens = max_output_tokens
        self._busy = False
        self._transcript: list[ChatMessage] = []
        if instructions:
            self._transcript.append(ChatMessage(role="system", text=Content(instructions)))

    @property
    def transcript(self) -> tuple[ChatMessage, ...]:
        """What was said so far; content, so never log it."""
        return tuple(self._transcript)

    def restore(self, messages: Iterable[ChatMessage]) -> None:
        """Go on after ``messages``, which replace all that was said here. Raises ``UsageError``."""
        if self._busy:
            raise UsageError("this session is answering a prompt", hint="restore it afterwards")
        self._transcript = list(messages)

    async def respond(
        self,
        prompt: str,
        *,
        options: Options | None = None,
        mode: Mode | None = None,
        data_class: DataClass | None = None,
        consent: bool | None = None,
    ) -> Reply:
        """Answer one prompt. Raises any ``LanaiError``; the transcript is then unchanged.

        ``mode``, ``data_class`` and ``consent`` default to the session's.
        """
        stream = self.stream(
            prompt, options=options, mode=mode, data_class=data_class, consent=consent
        )
        async with stream:
            async for _ in stream:
                pass
        return stream.final

    def stream(
        self,
        prompt: str,
        *,
        options: Options | None = None,
        mode: Mode | None = None,
        data_class: DataClass | None = None,
        consent: bool | None = None,
    ) -> "AsyncStream":
        """The same, piece by piece: ``async with session.stream(...) as stream``."""
        if not prompt.strip():
            raise UsageError("the prompt is empty", hint="say something")
        options = options or Options()
        said = ChatMessage(role="user", text=Content(prompt))
        ask = Ask(
            messages=(*self._transcript, said),
            options=options,
            max_tokens=options.max_tokens or self._max_output_tokens,
            mode=Mode(mode or self.mode),
            data_class=DataClass(data_class or self.data_class),
            consent=self.consent if consent is None else consent,
        )
        return AsyncStream(self, ask)

    def _begin(self, ask: Ask) -> Turn:
        if self._busy:
            raise UsageError(
                "this session is answering another prompt", hint="await it, or use a second session"
            )
        self._busy = True
        return Turn(self._runtime, ask)

    def _end(self, ask: Ask, reply: Reply | None) -> None:
        self._busy = False
        if reply is not None:
            answer = ChatMessage(role="assistant", text=reply.text)
            self._transcript = [*ask.messages, answer]


class AsyncStream:
    """Events with ``text`` while the answer comes; ``final`` once it is whole.

    Leaving the ``async with`` block early cancels the request, on the device and in the cloud.
    """

    def __init__(self, session: AsyncSession, ask: Ask) -> None:
        self._session = session
        self._ask = ask
        self._turn: Turn | None = None
        self._pieces: AsyncGenerator[Content, None] | None = None

    async def __aenter__(self) -> "AsyncStream":
        if self._turn is not None:
            raise UsageError("a stream is entered once")
        self._turn = self._session._begin(self._ask)
        self._pieces = self._turn.run()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._pieces is not None:
                await self._pieces.aclose()
        finally:
            self._session._end(self._ask, self._turn.reply if self._turn else None)

    def __aiter__(self) -> AsyncIterator[TextEvent]:
        return self

    async def __anext__(self) -> TextEvent:
        if self._pieces is None:
            raise UsageError("a stream is read inside its `async with` block")
        return TextEvent(text=await anext(self._pieces))

    @property
    def trace_id(self) -> str:
        """Of the request's trace, from the start of the ``async with`` block."""
        if self._turn is None:
            raise UsageError("a stream has a trace inside its `async with` block")
        return self._turn.trace_id

    @property
    def decision(self) -> Decision | None:
        """Where the answer comes from and why; it stands once the first piece has come."""
        return self._turn.decision if self._turn else None

    @property
    def final(self) -> Reply:
        """The whole answer. Raises ``UsageError`` before it is there, or when it never came."""
        if self._turn is None or self._turn.reply is None:
            raise UsageError("there is no whole answer", hint="read the stream to its end first")
        return self._turn.reply
