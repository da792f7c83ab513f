"""Tokens for requests: from the wallet, and when that is empty, a batch from the issuer.

Only tokens of issuer keys that are verified in the log, and in their window, are asked for or sent:
a key made to single this device out would have to be public.
"""

import asyncio
import time
from collections.abc import Callable

from device_agent.cloud.account import Account
from device_agent.cloud.keys import IssuerKeySource
from device_agent.cloud.transport import IssuerTransport
from device_agent.cloud.wallet import Wallet
from lanai.errors import QuotaExhausted
from trust.keys import VerifiedKey
from trust.root import TrustRoot
from trust.tokens import PendingTokens, Token, begin

__all__ = ["Purse"]


class Purse:
    """Gives out each token once. One batch is fetched at a time, whoever asks.

    ``clock`` is unix seconds.
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

    async def left(self) -> int | None:
        """Tokens in the wallet; None when empty and the issuer may fill it; 0 when it refused."""
        count = await asyncio.to_thread(self._wallet.count, now=self._clock())
        return count or (0 if self._exhausted else None)

    async def take(self) -> Token:
        """One token, already gone from the wallet; of the key that ends first.

        Raises ``QuotaExhausted``, ``TokenRejected`` for signatures that do not verify,
        ``LogRejected`` for issuer keys that do not, ``StoreError``, ``CloudError``.
        """
        async with self._lock:
            keys = await self._keys.issuer_keys()
            token = await self._from_wallet(keys)
            if token is None:
                await self._fill(max(keys, key=lambda key: key.not_before))
                token = await self._from_wallet(keys)
        if token is None:  # another process of this user was quicker, with all of them
            raise QuotaExhausted("the wallet is empty", hint="ask again")
        return token

    async def _from_wallet(self, keys: tuple[VerifiedKey, ...]) -> Token | None:
        key_ids = [key.key_id for key in keys]
        return await asyncio.to_thread(self._wallet.take, key_ids, now=self._clock())

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
        self._wallet.add(
            pending.finish(signatures),
            key_id=key.key_id,
            expires_at=key.expires_at,
            now=self._clock(),
        )
