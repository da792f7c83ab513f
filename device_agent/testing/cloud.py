"""Relay, gateway, nodes and issuer in memory: real bundles, tokens, seals; scripted answers.

cloud = InMemoryCloud(script=Script(pieces=("Hello", " there")))
client = cloud.client(tmp_path)
async with client.open(request, deadline_s=5) as stream: …
assert cloud.bodies[0].messages[0].text == "…"
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from device_agent.cloud import Account, CheckpointStore, CloudClient, Wallet
from device_agent.cloud.tally import Tally
from device_agent.cloud.transport import refused
from device_agent.testing.gateway import SealedGateway, sealed_answer
from device_agent.testing.node import ScriptedNode
from lanai.content import Content
from lanai.errors import CloudError, CloudRefused, CloudUnavailable, RefusalCode, TrustError
from protos.lanai.v1alpha.bundle_pb2 import NodeBundle as BundleMessage
from protos.lanai.v1alpha.envelope_pb2 import RequestBody
from protos.lanai.v1alpha.gateway_pb2 import (
    ConsistencyResponse,
    FetchRequest,
    FetchResponse,
    FileResponse,
    GatewayFrame,
    Open,
    RosterResponse,
)
from trust.envelope import EnvelopeHeader, SealedChunk
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld
from trust.tokens import TokenIssuer, TokenVerifier, token_challenge

__all__ = ["InMemoryCloud", "Script"]

CHALLENGE = token_challenge("issuer.invalid")


@dataclass(kw_only=True)
class Script:
    """What the cloud does. Change it between requests; ``repr`` shows lengths only."""

    pieces: tuple[Content | str, ...] = field(default=("Hello", " world"), repr=False)
    finish_reason: str = "stop"
    model: str = "toy"
    refusals: list[RefusalCode] = field(default_factory=list)
    """Used up one for each exchange, before its first answer frame."""
    failure: RefusalCode | None = None
    """The node says this under the seal, after its pieces."""
    cut_after: int | None = None
    """The stream ends after this many answer frames (the nonce is the first)."""
    break_after: int | None = None
    """The connection is lost after this many answer frames."""
    gate: asyncio.Event | None = None
    """When set, the node waits for it between its nonce and its first piece."""
    unreachable: bool = False
    quota: int = 1000
    """Tokens the issuer still gives."""


class InMemoryCloud:
    """A `Transport` and an `IssuerTransport`. ``world.now`` is its time, and its client's."""

    def __init__(
        self,
        *,
        nodes: int = 3,
        script: Script | None = None,
        now: int | None = None,
        issuer: TokenIssuer | None = None,
    ) -> None:
        """``now`` is unix seconds, by default real. An ``issuer`` is slow to make: share it."""
        self.script = script or Script()
        self.world = UnsafeTrustWorld(now=int(time.time()) if now is None else now)
        self.issuer = issuer or TokenIssuer.generate()
        self.nodes = [ScriptedNode() for _ in range(nodes)]
        self.root: TrustRoot = replace(self.world.root, token_challenge=CHALLENGE.hex())
        self.gateway = SealedGateway(self.world, self.issuer.spki)
        self.bundles: list[BundleMessage] = []
        self.announce()
        self.bodies: list[RequestBody] = []
        """What nodes opened, in order. Content: for a test's own eyes."""
        self.relayed: list[bytes] = []
        """Every payload the relay saw, both ways: sealed to the gateway, or by it."""
        self.files: dict[str, bytes] = {}
        """The public tree, by path."""
        self.answered_by: list[bytes] = []
        self.spent: set[bytes] = set()
        self.issued = 0
        self.live = 0
        """Exchanges that run now."""
        self._tokens = TokenVerifier(self.issuer.spki, CHALLENGE)

    def client(
        self, folder: Path, *, seal_to_nodes: int = 2, token_batch: int = 4, seed: int = 0
    ) -> CloudClient:
        """A client enrolled with this cloud; its files are in ``folder``."""
        return CloudClient(
            self.root,
            transport=self,
            issuer=self,
            account=Account(account="tester", credential=b"c" * 32),
            wallet=Wallet.of(self.root, folder / "wallet.json"),
            checkpoints=CheckpointStore.of(self.root, folder / "checkpoints"),
            tally=Tally.of(self.root, folder / "tally.json"),
            seal_to_nodes=seal_to_nodes,
            token_batch=token_batch,
            clock=lambda: float(self.world.now),
            random=Random(seed),  # noqa: S311  a test repeats its choice of nodes
        )

    def announce(self) -> None:
        """Make every node's bundle anew, under the log's newest checkpoint."""
        made = [self.world.bundle(node.key.public_key, tls=node.tls) for node in self._with_tls()]
        self.bundles = [bundle.to_proto() for bundle in made]

    # Transport

    async def connect(self) -> None:
        if self.script.unreachable:
            raise _unreachable()

    async def fetch(self, payload: bytes) -> bytes:
        await self.connect()
        self.relayed.append(payload)
        question, sealer = self.gateway.question(payload)
        sealed = sealer.seal(self._reply(question)) + sealer.seal(b"", final=True)
        self.relayed.append(sealed)
        return sealed

    async def keys(self) -> bytes:
        await self.connect()
        return self.gateway.keys()

    def _reply(self, question: bytes) -> bytes:
        request = FetchRequest.FromString(question)
        if request.WhichOneof("kind") == "roster":
            response = FetchResponse(roster=RosterResponse(bundles=self.bundles))
        elif request.WhichOneof("kind") == "file":
            content = self.files.get(request.file.path)
            found = FileResponse(found=content is not None, content=content or b"")
            response = FetchResponse(file=found)
        else:
            asked = request.consistency
            hashes = self.world.tree.consistency(asked.old_size, asked.new_size)
            response = FetchResponse(consistency=ConsistencyResponse(hashes=hashes))
        return response.SerializeToString()

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.live += 1
        try:
            await self.connect()
            sent = [payload async for payload in frames]
            self.relayed += sent
            opened, sealer = self.gateway.exchange(sent)
            async with aclosing(sealed_answer(sealer, self._answer(opened))) as pieces:
                count = 0
                async for piece in pieces:
                    self._check_breaks(count)
                    if count == self.script.cut_after:
                        return
                    self.relayed.append(piece)
                    yield piece
                    count += 1
        finally:
            self.live -= 1

    async def _answer(self, frames: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
        opening, *chunks = map(GatewayFrame.FromString, frames)
        node, header = self._dispatch(opening.open)
        self.answered_by.append(node.key.node_id)
        sealed = [SealedChunk.from_proto(frame.chunk) for frame in chunks]
        answer = node.answer(header, sealed, self.script, now=self.world.now, seen=self.bodies)
        async for payload in answer:
            yield payload

    # IssuerTransport

    async def issue(
        self, account: str, credential: bytes, key_id: bytes, blinded: Sequence[bytes]
    ) -> tuple[tuple[bytes, ...], int]:
        if self.script.unreachable:
            raise _unreachable()
        if (account, credential, key_id) != ("tester", b"c" * 32, self.issuer.key_id):
            raise refused(RefusalCode.UNAUTHENTICATED)
        if len(blinded) > self.script.quota:
            raise refused(RefusalCode.QUOTA_EXHAUSTED)
        self.script.quota -= len(blinded)
        self.issued += len(blinded)
        return tuple(self.issuer.sign(item) for item in blinded), self.script.quota

    async def close(self) -> None:
        """Nothing is open."""

    def _dispatch(self, opening: Open) -> tuple[ScriptedNode, EnvelopeHeader]:
        """As the gateway does: token, spending, node. Raises the refusal."""
        if self.script.refusals:
            raise _refusal(self.script.refusals.pop(0))
        header = EnvelopeHeader.from_proto(opening.header)
        try:
            token_hash = self._tokens.verify(
                opening.spend.token,
                holder_key=opening.spend.holder_key,
                holder_signature=opening.spend.holder_signature,
                envelope_digest=header.digest(),
            )
        except TrustError:
            raise _refusal(RefusalCode.TOKEN_INVALID) from None
        if token_hash != header.token_hash:
            raise _refusal(RefusalCode.TOKEN_INVALID)
        if token_hash in self.spent:
            raise _refusal(RefusalCode.TOKEN_SPENT)
        self.spent.add(token_hash)
        return self._node(header), header

    def _node(self, header: EnvelopeHeader) -> ScriptedNode:
        for node in self.nodes:
            if node.key.node_id in header.node_ids:
                return node
        raise _refusal(RefusalCode.NO_NODE)

    def _check_breaks(self, count: int) -> None:
        if count == self.script.break_after:
            raise _unreachable()

    def _with_tls(self) -> list[ScriptedNode]:
        for node in self.nodes:
            node.renew(now=self.world.now)
        return self.nodes


def _refusal(code: RefusalCode) -> CloudRefused:
    """As the gateway raises it: the word travels under the seal."""
    return CloudRefused("refused by the script, or as the gateway does", refusal=code)


def _unreachable() -> CloudError:
    return CloudUnavailable("the relay was not reached", hint="this one is in memory")
