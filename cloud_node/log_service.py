"""The transparency log as a process: appends for the operator, proofs for everybody.

Readers see the newest checkpoint that a quorum of witnesses cosigned; a timer has it cosigned
again, so that it stays fresh. Its files, and whatever else is in the public tree, are served over
HTTP too. Trusts its folder and its key. Refuses appends without the credential.

``python -m cloud_node.log_service --config FILE.json``
"""

import asyncio
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from grpc import aio
from pydantic import Field as Limit

from cloud_node.events import Component, Event, EventLog, Field
from cloud_node.keyfiles import read_key
from cloud_node.listening import ListenConfig, serve
from cloud_node.publishing import Publisher, WitnessEndpoint, WitnessPeer
from cloud_node.refusals import refusing
from cloud_node.service import Service, ServiceConfig, main
from cloud_node.static_files import StaticServer
from cloud_node.trust_refresh import TrustRefresh, refresh_trust
from lanai.errors import CloudRefused, LogRejected, RefusalCode
from protos.lanai.v1alpha import log_pb2 as wire
from protos.lanai.v1alpha import log_pb2_grpc as stubs
from trust.attestation.release import MAX_RELEASE_BYTES
from trust.keys import MAX_KEY_RECORD_BYTES
from trust.log.merkle import leaf_hash
from trust.log.notes import NoteSigner
from trust.log.transparency_log import TransparencyLog

__all__ = ["LogConfig", "LogService"]

MAX_ENTRIES_BYTES: Final = 512 * 1024
MAX_APPENDED_BYTES: Final = max(MAX_RELEASE_BYTES, MAX_KEY_RECORD_BYTES)
Context = aio.ServicerContext[Any, Any]


class LogConfig(ServiceConfig):
    """Where the log listens, what it is, who may append and who cosigns."""

    listen: ListenConfig
    origin: str
    signing_key: Path
    public: Path
    """The public tree, served over HTTP; the log is in its folder ``log``."""
    http_host: str = "127.0.0.1"
    http_port: int = Limit(0, ge=0, le=65535)
    credential_sha256: str = Limit(pattern=r"^[0-9a-f]{64}$")
    """Of the operator's credential, which is 32 random bytes."""
    witnesses: list[WitnessEndpoint]
    quorum: int = Limit(ge=1)
    refresh_s: float = Limit(300.0, gt=0)
    trust: TrustRefresh | None = None
    """The trust root's metadata in the public tree, when this process keeps it fresh."""

    @property
    def folder(self) -> Path:
        return self.public / "log"

    def signer(self) -> NoteSigner:
        return NoteSigner(self.origin, read_key(self.signing_key))


class LogService(stubs.LogServicer):
    """The methods of the wire over one log."""

    def __init__(
        self,
        log: TransparencyLog,
        publisher: Publisher,
        event_log: EventLog,
        *,
        credential_sha256: str,
    ) -> None:
        self._log = log
        self._publisher = publisher
        self._events = event_log
        self._credential = bytes.fromhex(credential_sha256)
        self._writing = asyncio.Lock()

    async def refresh(self) -> bool:
        """Have the newest checkpoint cosigned and published."""
        async with self._writing:
            return await self._publisher.publish()

    async def refresh_forever(self, interval_s: float) -> None:
        """Refresh until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.refresh()

    async def Append(  # noqa: N802  the wire's names
        self, request: wire.AppendRequest, context: Context
    ) -> wire.AppendResponse:
        """Add a leaf and publish. A leaf that is there already keeps its index."""
        async with refusing(context, self._events):
            found = hashlib.sha256(request.credential).digest()
            if not hmac.compare_digest(found, self._credential):
                raise CloudRefused("credential", refusal=RefusalCode.UNAUTHENTICATED)
            if not 0 < len(request.leaf) <= MAX_APPENDED_BYTES:
                raise CloudRefused("leaf", refusal=RefusalCode.TOO_LARGE)
            async with self._writing:
                index = self._append(request.leaf)
                await self._publisher.publish()
        return wire.AppendResponse(index=index)

    async def Checkpoint(  # noqa: N802
        self, request: wire.CheckpointRequest, context: Context
    ) -> wire.CheckpointResponse:
        """The newest cosigned checkpoint."""
        async with refusing(context, self._events):
            note = self._log.published
            if note is None:
                raise CloudRefused("nothing is public", refusal=RefusalCode.INTERNAL)
        return wire.CheckpointResponse(note=note)

    async def Inclusion(  # noqa: N802
        self, request: wire.InclusionRequest, context: Context
    ) -> wire.InclusionResponse:
        """Proof of a leaf under the newest cosigned checkpoint."""
        async with refusing(context, self._events):
            with _bad_request():
                proof = self._log.inclusion(request.leaf_hash)
        return wire.InclusionResponse(index=proof.index, hashes=proof.hashes, note=proof.checkpoint)

    async def Consistency(  # noqa: N802
        self, request: wire.LogConsistencyRequest, context: Context
    ) -> wire.LogConsistencyResponse:
        """Proof between two sizes."""
        async with refusing(context, self._events):
            with _bad_request():
                hashes = self._log.consistency(request.old_size, request.new_size)
        return wire.LogConsistencyResponse(hashes=hashes)

    async def Entries(  # noqa: N802
        self, request: wire.EntriesRequest, context: Context
    ) -> wire.EntriesResponse:
        """Leaves from ``start`` on; fewer than asked when they are many or large."""
        async with refusing(context, self._events):
            with _bad_request():
                leaves = self._log.entries(request.start, request.count)
        return wire.EntriesResponse(leaves=list(_fitting(leaves)))

    def _append(self, leaf: bytes) -> int:
        index = self._log.find(leaf_hash(leaf))
        if index is None:
            index = self._log.append(leaf)
            self._events.emit(Event.LEAF_APPENDED, {Field.SIZE: self._log.size})
        return index


def _fitting(leaves: list[bytes]) -> Iterator[bytes]:
    room = MAX_ENTRIES_BYTES
    for leaf in leaves:
        room -= len(leaf)
        if room < 0:
            return
        yield leaf


@contextmanager
def _bad_request() -> Iterator[None]:
    try:
        yield
    except LogRejected:
        raise CloudRefused("no such proof", refusal=RefusalCode.BAD_REQUEST) from None


async def run(config: LogConfig, service: Service) -> None:
    """The process, until it is told to stop.

    1. the log from its folder
    2. its witnesses
    3. a fresh checkpoint
    4. its files over HTTP
    5. serve and refresh
    """
    async with AsyncExitStack() as closing:
        # 1
        signer = config.signer()
        log = TransparencyLog.open(config.origin, signer, config.folder)
        closing.callback(log.close)
        # 2
        witnesses = [WitnessPeer(endpoint) for endpoint in config.witnesses]
        for witness in witnesses:
            closing.push_async_callback(witness.close)
        publisher = Publisher(
            log, signer.verifier, witnesses, quorum=config.quorum, events=service.log
        )
        methods = LogService(
            log, publisher, service.log, credential_sha256=config.credential_sha256
        )
        # 3
        await methods.refresh()
        # 4
        static = await StaticServer.start(
            config.public, host=config.http_host, port=config.http_port
        )
        closing.push_async_callback(static.close)
        # 5
        refreshing = asyncio.create_task(methods.refresh_forever(config.refresh_s))
        refreshing.add_done_callback(lambda _: service.stopping.set())
        closing.callback(refreshing.cancel)
        if config.trust is not None:
            signing = asyncio.create_task(refresh_trust(config.trust, service.log))
            signing.add_done_callback(lambda _: service.stopping.set())
            closing.callback(signing.cancel)
        await serve(
            service,
            config.listen,
            lambda server: stubs.add_LogServicer_to_server(methods, server),
        )


if __name__ == "__main__":
    main(Component.LOG, LogConfig, run)
