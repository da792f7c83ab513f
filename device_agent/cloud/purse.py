"""Tokens for requests: from the wallet, and when that is empty, a batch from the issuer.

Only tokens of issuer keys that are verified in the log, and in their window, are asked for or sent:
a key made to single this device out would have to be public.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from device_agent.cloud.account import Account
from device_agent.cloud.keys import IssuerKeySource
from device_agent.cloud.transport import IssuerTransport
from device_agent.cloud.wallet import Wallet
from lanai.errors import LanaiError, QuotaExhausted
from trust.keys import VerifiedKey
from trust.root import TrustRoot
from trust.tokens import PendingTokens, Token, begin

__all__ = ["Purse"]


class Purse:
    """Gives out each token once. One batch is fetched at a time, whoever asks.

    A token leaves the wallet's file durably before it is given out, which waits for the disk. So
    that a request does not, the next token is drawn after an answer and kept at hand: `close` puts
    it back, and a crash loses it. ``clock`` is unix seconds.
    """

    def __init__(
        self,
        root: TrustRoot,
        wallet: Wallet,
        issuer: IssuerTransport,
        account: Account,
        keys: IssuerKeySource,
        *,
        batch: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._challenge = bytes.fromhex(root.token_challenge)
        self._wallet = wallet
        self._issuer = issuer
        self._account = account
        self._keys = keys
        self._batch = batch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._exhausted = False
        self._at_hand: _AtHand | None = None
        self._drawing: asyncio.Task[None] | None = None

    async def left(self) -> int | None:
        """Tokens in the wallet; None when empty and the issuer may fill it; 0 when it refused."""
        async with self._lock:
            await self._drawn()
            count = await asyncio.to_thread(self._wallet.count, now=self._clock())
            if self._at_hand is not None and self._clock() < self._at_hand.key.expires_at:
                count += 1
        return count or (0 if self._exhausted else None)

    async def take(self) -> Token:
        """One token, already gone from the wallet; of the key that ends first.

        Raises ``QuotaExhausted``, ``TokenRejected`` for signatures that do not verify,
        ``LogRejected`` for issuer keys that do not, ``StoreError``, ``CloudError``.
        """
        async with self._lock:
            keys = await self._keys.issuer_keys()
            found = await self._found(keys)
            if found is None:
                await self._fill(max(keys, key=lambda key: key.not_before))
                found = await self._found(keys)
        if found is None:  # another process of this user was quicker, with all of them
            raise QuotaExhausted("the wallet is empty", hint="ask again")
        return found.token

    def prepare(self) -> None:
        """Begin to draw the next token from the wallet, if none is at hand."""
        if self._at_hand is None and self._drawing is None:
            self._drawing = asyncio.create_task(self._draw())

    async def close(self) -> None:
        """Put the token at hand back. Raises ``StoreError``. Idempotent."""
        async with self._lock:
            await self._drawn()
            kept, self._at_hand = self._at_hand, None
        if kept is not None:
            await asyncio.to_thread(self._put, (kept.token,), kept.key)

    async def _found(self, keys: tuple[VerifiedKey, ...]) -> "_AtHand | None":
        """The token at hand or one of the wallet; None when there is none.

        `prepare` waits for nobody: the wallet's last one may be at hand by the time it was looked
        into.
        """
        return await self._ready(keys) or await self._from_wallet(keys) or await self._ready(keys)

    async def _ready(self, keys: tuple[VerifiedKey, ...]) -> "_AtHand | None":
        """The token at hand, when its key may still be used."""
        await self._drawn()
        kept, self._at_hand = self._at_hand, None
        usable = {key.key_id for key in keys}
        return kept if kept is not None and kept.key.key_id in usable else None

    async def _drawn(self) -> None:
        if self._drawing is not None:
            # Shielded: who waits may be cancelled, and the token is out of the wallet by then.
            await asyncio.shield(self._drawing)
            self._drawing = None

    async def _draw(self) -> None:
        # What is wrong with keys or wallet, the next `take` finds out and says.
        with suppress(LanaiError):
            self._at_hand = await self._from_wallet(await self._keys.issuer_keys())

    async def _from_wallet(self, keys: tuple[VerifiedKey, ...]) -> "_AtHand | None":
        by_id = {key.key_id: key for key in keys}
        token = await asyncio.to_thread(self._wallet.take, list(by_id), now=self._clock())
        return None if token is None else _AtHand(token=token, key=by_id[token.key_id])

    async def _fill(self, key: VerifiedKey) -> None:
        try:
            await self._fetch(key, self._batch)
        except QuotaExhausted:
            # The issuer fills whole batches or nothing: the last few come one by one.
            try:
                await self._fetch(key, 1)
            except QuotaExhausted:
                self._exhausted = True
                raise
        self._exhausted = False

    async def _fetch(self, key: VerifiedKey, count: int) -> None:
        pending = await asyncio.to_thread(begin, key.key, self._challenge, count)
        account = self._account
        signatures, _ = await self._issuer.issue(
            account.account, account.credential, pending.key_id, pending.blinded
        )
        await asyncio.to_thread(self._keep, pending, signatures, key)

    def _keep(
        self, pending: PendingTokens, signatures: tuple[bytes, ...], key: VerifiedKey
    ) -> None:
        self._put(pending.finish(signatures), key)

    def _put(self, tokens: tuple[Token, ...], key: VerifiedKey) -> None:
        self._wallet.add(tokens, key_id=key.key_id, expires_at=key.expires_at, now=self._clock())


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtHand:
    """A token that has left the wallet, and the key it is of."""

    token: Token
    key: VerifiedKey
