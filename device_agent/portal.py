"""An asyncio event loop in a thread of its own, for callers that have no such loop.

The agent's parts (grpc.aio among them) belong to one asyncio loop. Blocking code and trio reach it
through a portal, so there is one code path, one crypto path.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from lanai.errors import UsageError

__all__ = ["Portal", "Running"]

T = TypeVar("T")


class Portal:
    """Methods may be called from any other thread. ``close`` joins the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lanai-agent", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in the loop and wait for it. An interrupt here cancels it there."""
        self._require_reach(work)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, T], ended: Callable[[], object]) -> "Running[T]":
        """Run ``work`` in the loop; ``ended`` is called there, also after a cancellation."""
        self._require_reach(work)
        return Running(self._loop, work, ended)

    @property
    def open(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Cancel what runs, end the thread. Idempotent."""
        if self.open:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _require_reach(self, work: Coroutine[Any, Any, Any]) -> None:
        if not self.open or threading.current_thread() is self._thread:
            work.close()
            raise UsageError("this agent is closed, or called from its own thread")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()


class Running(Generic[T]):
    """Work in a portal's loop. Unlike a future's, its end is the end of its clean-up too."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, T],
        ended: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._ended = ended
        self._task: asyncio.Task[T] | None = None
        loop.call_soon_threadsafe(self._start, work)

    def cancel(self) -> None:
        """Ask it to end; ``ended`` says when it has."""
        self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> T:
        """What it returned, once ``ended`` was called. Raises what it raised."""
        if self._task is None:
            raise UsageError("this work has not begun")
        return self._task.result()

    def _start(self, work: Coroutine[Any, Any, T]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(lambda _: self._ended())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
