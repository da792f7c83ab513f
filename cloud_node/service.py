"""How every cloud process starts and ends.

    python -m cloud_node.<module> --config FILE.json [--parent PID]

1. Read the configuration strictly: an unknown key, a missing key or a wrong type ends the process.
2. Tie the process to its parent, when one is named.
3. Reduce all logging to events; nothing but events reaches standard error from here on.
4. Bring the service up, print one line `{"ready": true, "address": "127.0.0.1:PORT"}`, and give up
   standard output.
5. On SIGTERM or SIGINT stop gracefully, within the service's own grace.

Exit codes are those of ``lanai.errors``. Before step 4 no request has been seen, so an error at
start is told in words; afterwards only events are.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_node.events import Component, Event, EventLog
from cloud_node.identity import SERVER_OPTIONS
from cloud_node.process import die_with_parent
from lanai.errors import ConfigError, LanaiError

__all__ = [
    "PinnedEndpoint",
    "Service",
    "ServiceConfig",
    "load_config",
    "main",
    "serve_grpc",
    "start_grpc",
]

C = TypeVar("C", bound="ServiceConfig")


class ServiceConfig(BaseModel):
    """Base of every configuration file: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def write(self, path: Path) -> Path:
        """Write as JSON, readable by this user only (configurations hold credentials)."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
        return path


class PinnedEndpoint(ServiceConfig):
    """Where a service listens and the one certificate it shows."""

    address: str = Field(pattern=r"^[^\s/:]+:\d{1,5}$")
    """``host:port``."""
    certificate: str = Field(repr=False)
    """PEM."""


def load_config(kind: type[C], path: Path) -> C:
    """Read ``path`` as ``kind``. Raises ``ConfigError`` naming the key, never its value."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "file"
        raise ConfigError(f"{path}: {key}: {first['msg'].lower()}") from None


class Service:
    """One running process: its event log, its stop signal and its ready line."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.stopping = asyncio.Event()
        """Set by SIGTERM and SIGINT, or by the service itself."""

    def ready(self, address: str, **more: str | int) -> None:
        """Say that the service answers at ``address``. Standard output is gone afterwards."""
        sys.stdout.write(json.dumps({"ready": True, "address": address, **more}) + "\n")
        sys.stdout.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        self.log.serves()
        self.log.emit(Event.READY)

    def catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        loop.set_exception_handler(self._loose_error)

    def _loose_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.log.emit(Event.FAILED, error=context.get("exception"))


async def serve_grpc(
    service: Service,
    register: Callable[[grpc.aio.Server], None],
    credentials: grpc.ServerCredentials,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    grace_s: float = 2.0,
) -> None:
    """Serve until told to stop, then let running calls finish for up to ``grace_s`` seconds."""
    server, address = await start_grpc(register, credentials, host=host, port=port)
    service.ready(address)
    await service.stopping.wait()
    service.log.emit(Event.STOPPING)
    await server.stop(grace_s)


async def start_grpc(
    register: Callable[[grpc.aio.Server], None],
    credentials: grpc.ServerCredentials,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> tuple[grpc.aio.Server, str]:
    """Start a TLS server; return it and ``host:port``. Raises ``ConfigError`` on a taken port."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    register(server)
    try:
        bound = server.add_secure_port(f"{host}:{port}", credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ConfigError(f"cannot listen on {host}:{port}", hint="use port 0 for a free one")
    await server.start()
    return server, f"{host}:{bound}"


def main(
    component: Component,
    kind: type[C],
    body: Callable[[C, Service], Awaitable[None]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run ``body(config, service)`` as this process and exit (steps 1 to 5 above)."""
    options = _arguments(component, arguments)
    log = EventLog(component)
    try:
        # 1. and 2.
        config = load_config(kind, options.config)
        if options.parent is not None:
            die_with_parent(options.parent)
        # 3.
        log.take_over_logging()
        # 4. and 5.
        asyncio.run(_run(body, config, Service(log)))
    except LanaiError as error:
        log.fail(error)
        sys.exit(error.exit_code)
    log.emit(Event.STOPPED)


async def _run(body: Callable[[C, Service], Awaitable[None]], config: C, service: Service) -> None:
    service.catch_signals()
    await body(config, service)


def _arguments(component: Component, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"lanai {component}", allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, help="configuration file (JSON)")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    return parser.parse_args(arguments)
