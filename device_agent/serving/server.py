"""Binding and running: uvicorn without its logs, its banner and its hold on the signals."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from device_agent.agent import AsyncAgent
from device_agent.serving.app import Serving, application
from device_agent.serving.places import Places
from lanai.errors import UsageError

__all__ = ["LocalServer", "bind"]

STOP_S: Final = 10
"""What runs when a stop is asked for may take this long to end; then it is cancelled."""
MOST_HEADER_BYTES: Final = 64 * 1024
BACKLOG: Final = 128


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises ``UsageError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port"
        ) from None
    return listener


class LocalServer:
    """Serves ``agent`` on ``listener``. Signals are the caller's: let them call ``stop``."""

    def __init__(self, agent: AsyncAgent, serving: Serving, listener: socket.socket) -> None:
        self._listener = listener
        self._places = Places(serving.most_requests)
        self._server = _Server(_config(agent, serving, self._places))

    async def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Until ``stop``; what runs then has ``STOP_S`` to end. Calls ``ready`` once it listens."""
        self._server.ready = ready
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Take no new request; ``run`` returns when the last has ended. At once, if twice."""
        self._places.close()
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


class _Server(uvicorn.Server):
    ready: Callable[[], object]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own would raise the signal again at the end, before the agent is closed.
        yield


def _config(agent: AsyncAgent, serving: Serving, places: Places) -> uvicorn.Config:
    return uvicorn.Config(
        application(agent, serving, places),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_graceful_shutdown=STOP_S,
        # uvicorn counts connections, ours counts requests: this only bounds idle ones.
        limit_concurrency=max(64, 8 * serving.most_requests),
    )
