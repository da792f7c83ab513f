"""The parties' own edges, driven without a network: what gRPC would hand them, they get here.

A party refuses with a word of the closed list. ``internal`` is the word for what it did not
foresee, so here that word is the bug.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any, TypeVar

from fuzz_frames import unframed
from fuzz_seeds import CHALLENGE, LEAVES, NOW, answered, cast, logged_keys, opener
from fuzz_target import Unsound
from google.protobuf.message import DecodeError, Message
from grpc.aio import EOF

from cloud_node.events import Component, EventLog
from cloud_node.gateway.announcements import AnnouncementVerifier
from cloud_node.gateway.keys import LoggedKeys
from cloud_node.gateway.log_reader import LogReader
from cloud_node.gateway.roster import Roster as GatewayRoster
from cloud_node.gateway.service import GatewayService, Limits
from cloud_node.gateway.spends import SpendVerifier
from cloud_node.launcher import Verb, _parse
from cloud_node.node.front import Front, Shared
from cloud_node.node.load import Load
from cloud_node.store import MemoryStore
from cloud_node.testing.inline import InlineKeyholding
from cloud_node.tree.keyholder import Keyholder
from device_agent.cloud.exchange import Traffic, owned
from device_agent.cloud.roster import Roster
from device_agent.cloud.stream import CloudStream
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import envelope_pb2, gateway_pb2, issuer_pb2, log_pb2, node_pb2
from trust.keys import KeyVerifier, LoggedKey
from trust.log.witness import WitnessState
from trust.ohttp import EXCHANGE, FETCH, GatewayKeys, RequestSealer, split_message
from trust.public_tree import public_file
from trust.tokens import TokenIssuer

__all__ = [
    "announcement",
    "device_answer",
    "device_message",
    "device_roster",
    "gateway_exchange",
    "gateway_fetch",
    "issuer_issue",
    "node_infer",
    "of_grpc",
    "witness_cosign",
]

T = TypeVar("T")
M = TypeVar("M", bound=Message)
DEADLINE_S = 60.0


def of_grpc(kind: type[M], data: bytes) -> M:
    """A message as gRPC decodes it; what does not decode, gRPC refuses before our code runs."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise CloudRefused("gRPC", refusal=RefusalCode.BAD_REQUEST) from None


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run in the process's one loop."""

    async def whole() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await work()

    return _runner().run(whole())


class Context:
    """A servicer's context: reads given frames, keeps nothing, turns an abort into its refusal."""

    def __init__(self, frames: Iterable[Any] = ()) -> None:
        self._frames = iter(frames)

    async def read(self) -> Any:
        return next(self._frames, EOF)

    async def write(self, message: Message) -> None:
        """Gone."""

    async def abort(self, code: object, details: str = "", **_: object) -> None:
        if details == RefusalCode.INTERNAL:
            raise Unsound("a party met something that it did not foresee")
        raise CloudRefused("aborted", refusal=RefusalCode(details))


async def _listed(items: Sequence[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


def _events() -> EventLog:
    return EventLog(Component.GATEWAY, stream=io.StringIO())


class _NoFiles:
    async def read(self, path: str) -> Any:
        if public_file(path) is None:
            raise CloudRefused("path", refusal=RefusalCode.BAD_REQUEST)
        return gateway_pb2.FileResponse(found=False)


def _gateway() -> GatewayService:
    def clock() -> float:
        return float(NOW)

    store = MemoryStore()
    log = LogReader(_LogChannel())
    verifier = AnnouncementVerifier(cast().world.verifier(), _proof, max_age_s=60)
    keys = LoggedKeys(log, KeyVerifier(cast().world.root, clock=clock), _events(), clock=clock)
    return GatewayService(
        GatewayRoster(store, verifier, _no_channel, _events()),
        keys,
        SpendVerifier(_IssuerKey(), CHALLENGE, clock=clock),
        store,
        _proof,
        _NoFiles(),
        _events(),
        opening=GatewayKeys([cast().gateway_key]),
        limits=Limits(),
        clock=clock,
    )


class _IssuerKey:
    """The cast's issuer key is logged and holds."""

    def current(self, purpose: str) -> dict[bytes, Any]:
        logged = LoggedKey.from_proto(of_grpc(gateway_pb2.KeysResponse, logged_keys()[0]).keys[0])
        verifier = KeyVerifier(cast().world.root, clock=lambda: float(NOW))
        key = verifier.verify(logged, purpose="issuer")
        return {key.key_id: key}

    def has_expired(self, key_id: bytes) -> bool:
        return False


class _LogChannel:
    """A channel to the log's own service."""

    def unary_unary(self, path: str, **_: object) -> Callable[..., Awaitable[Any]]:
        method = getattr(_log(), path.rpartition("/")[2])

        async def call(request: Message, **_: object) -> Any:
            return await method(request, Context())

        return call


async def _proof(old: int, new: int) -> Sequence[bytes]:
    return await LogReader(_LogChannel()).consistency(old, new)


def _no_channel(address: str, certificate: bytes) -> Any:
    raise Unsound("nobody connects here")


def gateway_exchange(data: bytes) -> None:
    """A device's frames under a good outer seal, at the gateway."""
    sealer, frames = RequestSealer(cast().gateway_key.configuration, media=EXCHANGE), []
    sent = [frame or b"\0" for frame in unframed(data)] or [b"\0"]
    for number, frame in enumerate(sent, 1):
        frames.append(sealer.seal(frame, final=number == len(sent)))
    opener = sealer.response()
    _foreseen([opener.open(piece) for piece in _exchanged(frames)][-1])


def gateway_pieces(data: bytes) -> None:
    """Pieces of an outer seal, whatever they are, at the gateway."""
    _exchanged(list(unframed(data)))


def _exchanged(pieces: Sequence[bytes]) -> list[bytes]:
    frames = [gateway_pb2.Opaque(payload=piece) for piece in pieces]

    async def exchange() -> list[bytes]:
        answer = _gateway().Exchange(_listed(frames), Context())
        return [piece.payload async for piece in answer]

    return run(exchange)


def gateway_fetch(data: bytes) -> None:
    """A device's question under a good outer seal, at the gateway."""
    sealer = RequestSealer(cast().gateway_key.configuration, media=FETCH)
    question = gateway_pb2.Opaque(payload=sealer.seal(data, final=True))
    answer = run(lambda: _gateway().Fetch(question, Context())).payload
    opener = sealer.response()
    pieces = split_message(answer, prefix_bytes=opener.prefix_bytes)
    _foreseen([opener.open(piece) for piece in pieces][-1])


def _foreseen(word: bytes) -> None:
    """The end of a sealed answer: nothing, or a refusal's word."""
    if word == RefusalCode.INTERNAL.encode():
        raise Unsound("the gateway met something that it did not foresee")
    if word:
        raise CloudRefused("under the seal", refusal=RefusalCode(word.decode()))


def announcement(data: bytes) -> object:
    """A node's announcement, at the gateway; the store may hold anything."""
    verifier = AnnouncementVerifier(
        cast().world.verifier(), _proof, max_age_s=60, clock=lambda: float(NOW)
    )
    return run(lambda: verifier.verify(cast().node_key.node_id, data))


class _Silent:
    """A model that has nothing to say, however it is asked."""

    async def frames(self, asked: object) -> AsyncIterator[Any]:
        yield envelope_pb2.AnswerFrame(final=envelope_pb2.Final(finish_reason="stop"))


def node_infer(data: bytes) -> None:
    """A gateway's frames, at the node."""
    frames = (of_grpc(node_pb2.InferRequest, frame) for frame in unframed(data))
    key, tls = cast().node_key, cast().bundle.tls_spki_sha256
    keyholder = Keyholder((), clock=lambda: float(NOW))
    keyholder.hold(key, tls, expires_at=NOW + 3600)
    shared = Shared(
        store=MemoryStore(),
        load=Load(max_live=1),
        keyholding=InlineKeyholding(keyholder, _Silent().frames),
        log=_events(),
        request_timeout_s=DEADLINE_S,
        clock=lambda: float(NOW),
    )
    front = Front(shared, SimpleNamespace(node_id=key.node_id), lambda: cast().bundle)
    run(lambda: front.infer(None, Context(frames)))


class _Answering:
    """A transport whose every answer is the same bytes."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    async def fetch(self, payload: bytes) -> bytes:
        return self._payload


class _NoCheckpoint:
    def newest(self) -> None:
        return None

    def advance(self, checkpoint: object, **_: object) -> None:
        """Forgotten: each input meets a device without a past."""


def device_roster(data: bytes) -> object:
    """Whatever came back for a roster, at the device; no verified node is a refusal."""
    roster = Roster(
        cast().world.root,
        _Answering(data),
        _NoCheckpoint(),
        clock=lambda: float(NOW),
    )
    return run(roster.fresh)


def device_answer(data: bytes) -> None:
    """Whatever came back for a request, frame by frame, at the device."""
    run(lambda: _read(list(unframed(data))))


def device_message(data: bytes) -> None:
    """One message of a node that the device verified, well sealed, whatever it says."""
    frames = answered([data])
    run(lambda: _read(frames))


async def _read(frames: list[bytes]) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    nodes = {cast().node_key.node_id: cast().world.verifier().verify(cast().bundle)}
    stream = CloudStream(owned(_listed(frames)), opener(), nodes, Traffic(), deadline=deadline)
    await stream.begin()
    async for _ in stream:
        pass
    _ = stream.final, stream.receipt


def issuer_issue(data: bytes) -> None:
    """A device's request for tokens, at the issuer."""
    _issuer().issue(of_grpc(issuer_pb2.IssueRequest, data))


class _IssuerKeys:
    """The ring with the cast's one key."""

    def find(self, key_id: bytes) -> TokenIssuer:
        if key_id != cast().issuer.key_id:
            raise CloudRefused("key", refusal=RefusalCode.BAD_REQUEST)
        return cast().issuer


@cache
def _issuer() -> Any:
    from cloud_node.issuer.accounts import AccountBook
    from cloud_node.issuer.service import IssuerService

    book = AccountBook(Path(mkdtemp(prefix="lanai-fuzz-")) / "book.db")
    book.add("tester", b"c" * 32, daily_tokens=10**9)
    return IssuerService(_IssuerKeys(), book, _events(), clock=lambda: float(NOW))


def witness_cosign(data: bytes) -> bytes:
    """A log's checkpoint, at a witness that saw nothing yet."""
    world = cast().world
    witness = WitnessState(
        world.witness_signers[0],
        {world.origin: world.log_signer.verifier},
        persist=lambda state: None,
    )
    asked = of_grpc(log_pb2.AddCheckpointRequest, data)
    return witness.add_checkpoint(asked.old_size, tuple(asked.consistency), asked.note, NOW)


def log_questions(data: bytes) -> None:
    """Three questions, one for each method, at the log."""
    inclusion, consistency, entries = (*unframed(data), b"", b"", b"")[:3]
    run(lambda: _log().Inclusion(of_grpc(log_pb2.InclusionRequest, inclusion), Context()))
    run(lambda: _log().Consistency(of_grpc(log_pb2.LogConsistencyRequest, consistency), Context()))
    run(lambda: _log().Entries(of_grpc(log_pb2.EntriesRequest, entries), Context()))


@cache
def _log() -> Any:
    from cloud_node.log_service import LogService
    from trust.log.transparency_log import TransparencyLog

    signer = cast().world.log_signer
    log = TransparencyLog.create(cast().world.origin, signer, Path(mkdtemp(prefix="lanai-fuzz-")))
    for leaf in LEAVES:
        log.append(leaf)
    log.publish(log.checkpoint())
    return LogService(log, None, _events(), credential_sha256="00" * 32)


def launcher_line(data: bytes) -> object:
    """One line of whoever reaches the launcher's socket, up to its verb: none is carried out."""
    if (found := _parse(data)) not in list(Verb):
        raise CloudRefused("no verb", refusal=RefusalCode.BAD_REQUEST)
    return found
