"""The requests an engine has running, seen from the caller's side; shared by every engine."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.admission import check_adapter, check_options, check_prompt
from inference.dialogue import Submission
from inference.engine import Constraint, EngineInfo, Finished, GenerateOptions
from inference.scheduler import Outcome, RequestFailed
from inference.stream import Inbox, RequestStream
from lanai.errors import LanaiError, UsageError

__all__ = ["Backend", "LiveRequests"]


class Backend(Protocol):
    """Where the work is done. Calls return at once; what happens comes back by ``deliver``."""

    def begin(self, submission: Submission) -> None: ...

    def give_mask(self, number: str, mask: NDArray[np.uint32] | None) -> None: ...

    def end(self, number: str) -> None: ...


class LiveRequests:
    """Checks, numbers and tracks requests. Belongs to the event loop it was made in."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._inboxes: dict[str, Inbox] = {}
        self._numbered: dict[str, str] = {}

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        info: EngineInfo,
        *,
        request_id: str | None,
        adapter: str | None,
        constraint: Constraint | None,
    ) -> RequestStream:
        """See ``Engine.submit``; every check is made before the backend hears of the request."""
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("an engine serves the event loop that started it, and no other")
        check_adapter(adapter, info)
        check_options(options)
        prompt = check_prompt(ids, options, info)
        number, inbox = self._enter(request_id)
        constrained = constraint is not None
        self._backend.begin(
            Submission(
                request_id=number,
                prompt=prompt,
                options=options,
                constrained=constrained,
                adapter=adapter,
            )
        )
        handle = _Handle(self, number)
        return RequestStream(inbox, handle, vocabulary=info.vocabulary, constraint=constraint)

    def cancel(self, request_id: str) -> None:
        """End the request its caller named so; the backend then delivers ``Finished``."""
        if (number := self._numbered.get(request_id)) is not None:
            self._backend.end(number)

    def deliver(self, number: str, outcome: Outcome) -> None:
        """What happened to a request. One that its caller has closed meanwhile is ignored."""
        if (inbox := self._inboxes.get(number)) is None:
            return
        inbox.put_nowait(outcome)
        if isinstance(outcome, Finished | RequestFailed):
            self._leave(number)

    def fail_all(self, error: LanaiError) -> None:
        """Every live request's stream raises ``error``."""
        for number in list(self._inboxes):
            self._inboxes[number].put_nowait(error)
            self._leave(number)

    def _enter(self, request_id: str | None) -> tuple[str, Inbox]:
        # Numbers of our own: a late event of a closed request meets nobody of the same name.
        number = str(next(self._numbers))
        if request_id is not None:
            if request_id in self._numbered:
                raise UsageError("a live request has this id already")
            self._numbered[request_id] = number
        inbox = self._inboxes[number] = Inbox()
        return number, inbox

    def _leave(self, number: str) -> bool:
        for name in [name for name, known in self._numbered.items() if known == number]:
            del self._numbered[name]
        return self._inboxes.pop(number, None) is not None

    def _end(self, number: str) -> None:
        if self._leave(number):
            self._backend.end(number)


class _Handle:
    """A ``RequestHandle``: what a stream may do to its own request."""

    def __init__(self, requests: LiveRequests, number: str) -> None:
        self._requests = requests
        self._number = number

    def give_mask(self, mask: NDArray[np.uint32] | None) -> None:
        self._requests._backend.give_mask(self._number, mask)

    def end(self) -> None:
        self._requests._end(self._number)

    def abandon(self) -> None:
        # The collector may run in any thread, and after the loop has ended.
        with contextlib.suppress(RuntimeError):
            self._requests._loop.call_soon_threadsafe(self.end)
