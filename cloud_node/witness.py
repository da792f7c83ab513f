"""A witness: cosigns only checkpoints that continue the ones it cosigned before.

Its memory is on disk before a cosignature leaves. The process refuses to start without it: a
witness that forgot would cosign a second history. ``create_state`` makes it, once, with the key.

``python -m cloud_node.witness --config FILE.json``
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from grpc import aio

from cloud_node.events import Component, Event, EventLog, Field
from cloud_node.keyfiles import read_key
from cloud_node.listening import ListenConfig, serve
from cloud_node.refusals import refusing
from cloud_node.service import Service, ServiceConfig, main
from lanai.errors import CloudRefused, ConfigError, LogRejected, RefusalCode, WitnessConflict
from protos.lanai.v1alpha import log_pb2_grpc as stubs
from protos.lanai.v1alpha.log_pb2 import AddCheckpointRequest, AddCheckpointResponse
from trust.log.files import read_file, write_durably
from trust.log.notes import NoteSigner, parse_vkey
from trust.log.witness import WitnessState

__all__ = ["CONFLICT_KEY", "WitnessConfig", "WitnessService", "create_state"]

CONFLICT_KEY: Final = "lanai-witness-size"
"""Trailing metadata of a conflict: the size cosigned last (c2sp.org/tlog-witness, status 409)."""


class WitnessConfig(ServiceConfig):
    """Where the witness listens, its key, its memory and the logs it knows."""

    listen: ListenConfig
    name: str
    signing_key: Path
    state: Path
    logs: dict[str, str]
    """Origin to verifier key."""

    def signer(self) -> NoteSigner:
        return NoteSigner.cosigner(self.name, read_key(self.signing_key))


def create_state(config: WitnessConfig) -> None:
    """Start the memory of a new witness; an existing one is left alone."""
    if not config.state.exists():
        state = WitnessState(config.signer(), {}, persist=lambda text: None)
        write_durably(config.state, state.to_json().encode())


def open_state(config: WitnessConfig) -> WitnessState:
    """Read the memory back. Raises ``ConfigError`` when there is none, ``LogRejected`` when bad."""
    data = read_file(config.state)
    if data is None:
        raise ConfigError(
            f"the witness has no memory at {config.state}",
            hint="restore it, or give the witness a new key",
        )
    return WitnessState.from_json(
        data.decode("utf-8", "replace"),
        config.signer(),
        {origin: parse_vkey(vkey) for origin, vkey in config.logs.items()},
        persist=lambda text: write_durably(config.state, text.encode()),
    )


class WitnessService(stubs.WitnessServicer):
    """The one method. ``clock`` is unix seconds."""

    def __init__(
        self,
        state: WitnessState,
        log: EventLog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._log = log
        self._clock = clock

    async def AddCheckpoint(  # noqa: N802  the wire's name
        self, request: AddCheckpointRequest, context: aio.ServicerContext[Any, Any]
    ) -> AddCheckpointResponse:
        """Cosign, or say which size was cosigned last."""
        async with refusing(context, self._log):
            try:
                line = await asyncio.to_thread(self._cosign, request)
            except WitnessConflict as conflict:
                await _conflict(context, conflict.size)
            except LogRejected as error:
                self._log.emit(Event.REQUEST_REFUSED, {Field.REASON: error.reason})
                raise CloudRefused("checkpoint", refusal=RefusalCode.BAD_REQUEST) from None
        self._log.emit(Event.CHECKPOINT_COSIGNED)
        return AddCheckpointResponse(cosignature=line)

    def _cosign(self, request: AddCheckpointRequest) -> bytes:
        return self._state.add_checkpoint(
            request.old_size, tuple(request.consistency), request.note, int(self._clock())
        )


async def _conflict(context: aio.ServicerContext[Any, Any], size: int) -> NoReturn:
    await context.abort(
        grpc.StatusCode.FAILED_PRECONDITION,
        RefusalCode.BAD_REQUEST.value,
        trailing_metadata=((CONFLICT_KEY, str(size)),),
    )


async def run(config: WitnessConfig, service: Service) -> None:
    """The process: memory from disk, one server."""
    witness = WitnessService(open_state(config), service.log)
    await serve(
        service,
        config.listen,
        lambda server: stubs.add_WitnessServicer_to_server(witness, server),
    )


if __name__ == "__main__":
    main(Component.WITNESS, WitnessConfig, run)
