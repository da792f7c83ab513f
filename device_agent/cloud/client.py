"""The cloud client: one enrolled cluster, from verified node to proved answer."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from device_agent.cloud.account import Account
from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.choice import draw
from device_agent.cloud.exchange import Traffic, owned, request_frames
from device_agent.cloud.keys import ClusterKeys
from device_agent.cloud.purse import Purse
from device_agent.cloud.request import CloudRequest, encode_body
from device_agent.cloud.retry import attempts
from device_agent.cloud.roster import Roster
from device_agent.cloud.sealed import SealedTransport
from device_agent.cloud.status import status_of
from device_agent.cloud.stopwatch import Stopwatch
from device_agent.cloud.stream import CloudStream
from device_agent.cloud.tally import Counts, Tally, tally_path
from device_agent.cloud.transport import IssuerTransport, Transport
from device_agent.cloud.values import CloudStatus
from device_agent.cloud.wallet import Wallet
from device_agent.cloud_seam import StreamShape
from lanai.errors import CloudUnavailable, DeadlineExceeded, LanaiError, UsageError
from lanai.folders import Folders
from lanai.settings import Settings
from lanai.telemetry import Span
from trust.envelope import MAX_LIFETIME_S, SealedRequest, seal_request
from trust.root import TrustRoot
from trust.tokens import Token
from trust.updates import TrustRootStore
from trust.verification import VerifiedNode

__all__ = ["CloudClient"]

EXPIRY_MARGIN_S = 60
"""An envelope outlives its deadline by this much, for clocks that differ."""
STATUS_S = 10.0


class CloudClient:
    """Verifies, pays, seals, sends. Safe for concurrent requests on one event loop."""

    def __init__(
        self,
        root: TrustRoot,
        *,
        transport: Transport,
        issuer: IssuerTransport,
        account: Account,
        wallet: Wallet,
        checkpoints: CheckpointStore,
        seal_to_nodes: int,
        token_batch: int = 16,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """The root is admitted by the caller; ``clock`` is unix seconds, ``random`` picks nodes.

        Without a ``tally``, tokens lost and nodes seen are counted in this object only.
        """
        self._policy_digest = root.policy_digest
        keys = ClusterKeys(root, transport, checkpoints, clock=clock)
        self._transport = SealedTransport(transport, keys)
        self._issuer = issuer
        self._purse = Purse(root, wallet, issuer, account, keys, batch=token_batch, clock=clock)
        self._roster = Roster(root, self._transport, checkpoints, clock=clock)
        self._seal_to_nodes = seal_to_nodes
        self._clock = clock
        self._random = random or secrets.SystemRandom()
        self._tally = tally
        self.tokens_lost = 0
        """Tokens this object took from the wallet that brought no answer frame."""

    @classmethod
    def enrolled(cls, folders: Folders, settings: Settings) -> "CloudClient | None":
        """The client of the enrolled cluster as it is known now; None when none is enrolled.

        Touches no network. Raises ``TrustRootRejected`` when the trust root has expired, is
        malformed or not admitted under ``settings.profile``, ``ConfigError`` or ``StoreError`` for
        unusable files.
        """
        root = TrustRootStore.of(folders.state).current()
        return None if root is None else cls.under(root, folders, settings)

    @classmethod
    def under(cls, root: TrustRoot, folders: Folders, settings: Settings) -> "CloudClient | None":
        """The client of the cluster that ``root`` describes; None without an account."""
        from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport

        root.admit(settings.profile)
        account = Account.load(folders.state / "account.json")
        if account is None:
            return None
        return cls(
            root,
            transport=GrpcRelayTransport(root.relay),
            issuer=GrpcIssuerTransport(root.issuer),
            account=account,
            wallet=Wallet.of(root, folders.state / "wallet.json"),
            checkpoints=CheckpointStore.of(root, folders.state / "checkpoints"),
            seal_to_nodes=settings.seal_to_nodes,
            token_batch=settings.token_batch,
            tally=Tally.of(root, tally_path(folders)),
        )

    async def status(self) -> CloudStatus:
        """What could be asked of the cluster now. Never raises for one that is down or refused."""
        problem: LanaiError | None = None
        try:
            async with asyncio.timeout(STATUS_S):
                await self._roster.refresh()
        except TimeoutError:
            problem = CloudUnavailable("the relay did not answer", hint="check the network")
        except LanaiError as error:
            problem = error
        try:
            left = await self._purse.left()
            counts = await self._counts()
        except LanaiError as error:
            problem, left, counts = problem or error, 0, self._own_counts()
        roster = self._roster
        problem = problem or (None if roster.nodes else roster.refusal)
        return status_of(roster.nodes, problem, left, counts)

    @asynccontextmanager
    async def open(
        self, request: CloudRequest, *, deadline_s: float
    ) -> AsyncGenerator[CloudStream, None]:
        """Send one request; its answer, from the node's first frame on. Leaving cancels it.

        Raises ``TrustError`` (nothing was sent), ``CloudError``, ``StoreError``, ``UsageError``.
        ``deadline_s`` bounds all of it, the reading too.
        """
        body = encode_body(request)
        async with self.open_body(body, request.shape, deadline_s=deadline_s) as stream:
            yield stream

    @asynccontextmanager
    async def open_body(
        self, body: bytes, shape: StreamShape, *, deadline_s: float
    ) -> AsyncGenerator[CloudStream, None]:
        """``open`` for who encoded the request already; ``shape`` is what ``body`` asks for.

        1. Fix the deadline.
        2. Try; once more, all anew, when refused before the first answer frame.
        3. Hand out the stream, and close it on every way out; then draw the next token.
        """
        # 1.
        _require_deadline(deadline_s)
        deadline = asyncio.get_running_loop().time() + deadline_s
        # 2.
        stream: CloudStream | None = None
        async for attempt in attempts():
            with attempt:
                stream = await self._attempt(body, shape, deadline)
        if stream is None:  # not reached: the last attempt returned or raised
            raise CloudUnavailable("no attempt was made", hint="ask again")
        # 3.
        try:
            yield stream
        finally:
            await stream.close()
            self._purse.prepare()

    async def close(self) -> None:
        """Close the connections, and fetch nothing more. Idempotent.

        Raises ``StoreError`` when an unspent token cannot be put back; all is closed then, too.
        """
        await self._roster.close()
        await self._transport.close()
        await self._issuer.close()
        await self._purse.close()

    async def _attempt(self, body: bytes, shape: StreamShape, deadline: float) -> CloudStream:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._send(body, shape, deadline)
        except TimeoutError:
            raise DeadlineExceeded(
                "the cloud did not answer in time", hint="allow more time"
            ) from None

    async def _send(self, body: bytes, shape: StreamShape, deadline: float) -> CloudStream:
        """One try.

        1. K verified nodes at random. Raises ``TrustError`` when none is acceptable.
        2. The relay is there: a token must not be lost to a cable.
        3. A token, gone from the wallet before it is sent.
        4. Seal, and sign the envelope with the token's holder key.
        5. Send; the node's first frame makes it an answer.
        """
        watch = Stopwatch()
        # 1.
        with watch.step(Span.CLOUD_VERIFY):
            nodes = draw(
                await self._roster.fresh(),
                self._seal_to_nodes,
                until=self._expiry(deadline),
                random=self._random,
            )
        # 2.
        await self._transport.connect()
        # 3.
        with watch.step(Span.CLOUD_TOKEN):
            token = await self._purse.take()
        try:
            # 4.
            with watch.step(Span.CLOUD_SEAL):
                sealed = self._seal(body, nodes, token, deadline)
            # 5.
            return await self._begin(sealed, token, nodes, shape, deadline, watch)
        except BaseException:
            self._lose()
            raise

    async def _begin(
        self,
        sealed: SealedRequest,
        token: Token,
        nodes: Sequence[VerifiedNode],
        shape: StreamShape,
        deadline: float,
        watch: Stopwatch,
    ) -> CloudStream:
        traffic = Traffic()
        frames = self._transport.exchange(traffic.sending(request_frames(sealed, token)))
        stream = CloudStream(
            owned(frames),
            sealed.opener,
            {node.node_id: node for node in nodes},
            traffic,
            deadline=deadline,
            shape=shape,
            preparation=watch.timings,
        )
        try:
            await stream.begin()
        except BaseException:
            await stream.close()
            raise
        return stream

    def _lose(self) -> None:
        """A token is gone and brought nothing; whom it was sealed to is looked at anew."""
        self.tokens_lost += 1
        self._roster.forget()
        if self._tally is not None:
            # Not in a thread: this may run while the task is being cancelled.
            self._tally.lost()

    def _expiry(self, deadline: float) -> int:
        """When the envelope expires (unix seconds)."""
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        return int(self._clock() + left_s) + EXPIRY_MARGIN_S

    def _seal(
        self, body: bytes, nodes: Sequence[VerifiedNode], token: Token, deadline: float
    ) -> SealedRequest:
        return seal_request(
            body,
            nodes,
            token_hash=token.hash,
            policy_digest=self._policy_digest,
            expires_at=self._expiry(deadline),
        )

    async def _counts(self) -> Counts:
        """The cluster's counts, with what this roster shows. Raises ``StoreError``."""
        if self._tally is None:
            return self._own_counts()
        if nodes := self._roster.nodes:
            await asyncio.to_thread(self._tally.saw, len(nodes), now=self._clock())
        return await asyncio.to_thread(self._tally.counts)

    def _own_counts(self) -> Counts:
        return Counts(tokens_lost=self.tokens_lost, most_nodes=len(self._roster.nodes))

    def __repr__(self) -> str:
        return f"CloudClient({len(self._roster.nodes)} verified nodes)"


def _require_deadline(deadline_s: float) -> None:
    limit = MAX_LIFETIME_S - EXPIRY_MARGIN_S
    if not 0 < deadline_s <= limit:
        raise UsageError(
            f"a deadline of {deadline_s} s", hint=f"cloud_timeout_s is above 0, at most {limit}"
        )
