"""The cloud client: one enrolled cluster, from verified node to proved answer."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import stamina

from device_agent.cloud.account import Account
from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.exchange import Traffic, owned, request_frames
from device_agent.cloud.purse import Purse
from device_agent.cloud.request import CloudRequest, encode_body
from device_agent.cloud.roster import Roster
from device_agent.cloud.status import status_of
from device_agent.cloud.stopwatch import Stopwatch
from device_agent.cloud.stream import CloudStream
from device_agent.cloud.transport import IssuerTransport, Transport
from device_agent.cloud.values import CloudStatus
from device_agent.cloud.wallet import Wallet
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    DeadlineExceeded,
    LanaiError,
    RefusalCode,
    UsageError,
)
from lanai.folders import Folders
from lanai.settings import Settings
from lanai.telemetry import Span
from trust.envelope import MAX_LIFETIME_S, SealedRequest, seal_request
from trust.private_files import read_private
from trust.root import MAX_ROOT_CHARACTERS, TrustRoot
from trust.tokens import Token
from trust.verification import VerifiedNode

__all__ = ["CloudClient"]

EXPIRY_MARGIN_S = 60
"""An envelope outlives its deadline by this much, for clocks that differ."""
STATUS_S = 10.0
ATTEMPTS = 2
BACKOFF = {"wait_initial": 0.05, "wait_jitter": 0.05, "wait_max": 0.5}
RETRIED = frozenset(
    {
        RefusalCode.NO_NODE,
        RefusalCode.BUSY,
        RefusalCode.DRAINING,
        RefusalCode.REPLAYED,
        RefusalCode.TOKEN_INVALID,
        RefusalCode.TOKEN_SPENT,
    }
)
"""Refusals a new seal with a new token may overcome. None is about what the device verified."""

# Without any handler, logging would print each retry on the terminal of whoever uses the SDK.
logging.getLogger("stamina").addHandler(logging.NullHandler())


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
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """The root is admitted by the caller; ``clock`` is unix seconds, ``random`` picks nodes."""
        self._policy_digest = root.policy_digest
        self._transport = transport
        self._issuer = issuer
        self._purse = Purse(root, wallet, issuer, account, batch=token_batch)
        self._roster = Roster(root, transport, checkpoints, clock=clock)
        self._seal_to_nodes = seal_to_nodes
        self._clock = clock
        self._random = random or secrets.SystemRandom()
        self.tokens_lost = 0
        """Tokens that were sent and brought no answer frame."""

    @classmethod
    def enrolled(cls, folders: Folders, settings: Settings) -> "CloudClient | None":
        """The client of the enrolled cluster; None when none is. Touches no network.

        Raises ``TrustRootRejected`` when the root is malformed or not admitted under
        ``settings.profile``, ``ConfigError`` or ``StoreError`` for unusable files.
        """
        from device_agent.cloud.transport_grpc import GrpcIssuerTransport, GrpcRelayTransport

        text = read_private(folders.state / "trust-root.json", limit=4 * MAX_ROOT_CHARACTERS)
        account = Account.load(folders.state / "account.json")
        if text is None or account is None:
            return None
        # The file is ASCII; what is not becomes a sign that no field accepts.
        root = TrustRoot.from_json(text.decode("ascii", "replace"))
        root.admit(settings.profile)
        return cls(
            root,
            transport=GrpcRelayTransport(root.relay),
            issuer=GrpcIssuerTransport(root.issuer),
            account=account,
            wallet=Wallet.of(root, folders.state / "wallet.json"),
            checkpoints=CheckpointStore.of(root, folders.state / "checkpoints"),
            seal_to_nodes=settings.seal_to_nodes,
            token_batch=settings.token_batch,
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
        except LanaiError as error:
            problem, left = problem or error, 0
        roster = self._roster
        problem = problem or (None if roster.nodes else roster.refusal)
        return status_of(roster.nodes, problem, left)

    @asynccontextmanager
    async def open(
        self, request: CloudRequest, *, deadline_s: float
    ) -> AsyncGenerator[CloudStream, None]:
        """Send one request; its answer, from the node's first frame on. Leaving cancels it.

        Raises ``TrustError`` (nothing was sent), ``CloudError``, ``StoreError``, ``UsageError``.
        ``deadline_s`` bounds all of it, the reading too.

        1. Encode the body, and fix the deadline.
        2. Try; once more, all anew, when refused before the first answer frame.
        3. Hand out the stream, and close it on every way out.
        """
        # 1.
        _require_deadline(deadline_s)
        body = encode_body(request)
        deadline = asyncio.get_running_loop().time() + deadline_s
        # 2.
        stream: CloudStream | None = None
        async for attempt in stamina.retry_context(
            on=_is_retried, attempts=ATTEMPTS, timeout=None, **BACKOFF
        ):
            with attempt:
                stream = await self._attempt(body, deadline)
        if stream is None:  # not reached: the last attempt returned or raised
            raise CloudUnavailable("no attempt was made", hint="ask again")
        # 3.
        try:
            yield stream
        finally:
            await stream.close()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._transport.close()
        await self._issuer.close()

    async def _attempt(self, body: bytes, deadline: float) -> CloudStream:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._send(body, deadline)
        except TimeoutError:
            raise DeadlineExceeded(
                "the cloud did not answer in time", hint="allow more time"
            ) from None

    async def _send(self, body: bytes, deadline: float) -> CloudStream:
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
            nodes = self._pick(await self._roster.fresh())
        # 2.
        await self._transport.connect()
        # 3.
        with watch.step(Span.CLOUD_TOKEN):
            token = await self._purse.take()
        # 4.
        with watch.step(Span.CLOUD_SEAL):
            sealed = self._seal(body, nodes, token, deadline)
        # 5.
        traffic = Traffic()
        frames = self._transport.exchange(traffic.sending(request_frames(sealed, token)))
        stream = CloudStream(
            owned(frames),
            sealed.opener,
            {node.node_id: node for node in nodes},
            traffic,
            deadline=deadline,
            preparation=watch.timings,
        )
        await self._begin(stream)
        return stream

    async def _begin(self, stream: CloudStream) -> None:
        try:
            await stream.begin()
        except BaseException:
            self.tokens_lost += 1
            self._roster.forget()
            await stream.close()
            raise

    def _pick(self, nodes: Sequence[VerifiedNode]) -> list[VerifiedNode]:
        return self._random.sample(nodes, min(self._seal_to_nodes, len(nodes)))

    def _seal(
        self, body: bytes, nodes: Sequence[VerifiedNode], token: Token, deadline: float
    ) -> SealedRequest:
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        return seal_request(
            body,
            nodes,
            token_hash=token.hash,
            policy_digest=self._policy_digest,
            expires_at=int(self._clock() + left_s) + EXPIRY_MARGIN_S,
        )

    def __repr__(self) -> str:
        return f"CloudClient({len(self._roster.nodes)} verified nodes)"


def _require_deadline(deadline_s: float) -> None:
    limit = MAX_LIFETIME_S - EXPIRY_MARGIN_S
    if not 0 < deadline_s <= limit:
        raise UsageError(
            f"a deadline of {deadline_s} s", hint=f"cloud_timeout_s is above 0, at most {limit}"
        )


def _is_retried(error: Exception) -> bool:
    if isinstance(error, CloudRefused):
        return error.refusal in RETRIED
    return isinstance(error, CloudUnavailable)
