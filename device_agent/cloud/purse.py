"""Tokens for requests: from the wallet, and when that is empty, a batch from the issuer."""

import asyncio

from device_agent.cloud.account import Account
from device_agent.cloud.transport import IssuerTransport
from device_agent.cloud.wallet import Wallet
from lanai.errors import QuotaExhausted
from trust.root import TrustRoot
from trust.tokens import PendingTokens, Token, begin

__all__ = ["Purse"]


class Purse:
    """Gives out each token once. One batch is fetched at a time, whoever asks."""

    def __init__(
        self,
        root: TrustRoot,
        wallet: Wallet,
        issuer: IssuerTransport,
        account: Account,
        *,
        batch: int,
    ) -> None:
        self._spki = bytes.fromhex(root.issuer_key)
        self._challenge = bytes.fromhex(root.token_challenge)
        self._wallet = wallet
        self._issuer = issuer
        self._account = account
        self._batch = batch
        self._lock = asyncio.Lock()
        self._exhausted = False

    async def left(self) -> int | None:
        """Tokens in the wallet; None when empty and the issuer may fill it; 0 when it refused."""
        count = await asyncio.to_thread(self._wallet.count)
        return count or (0 if self._exhausted else None)

    async def take(self) -> Token:
        """One token, already gone from the wallet.

        Raises ``QuotaExhausted``, ``TokenRejected`` for signatures that do not verify,
        ``StoreError``, ``CloudError``.
        """
        async with self._lock:
            token = await asyncio.to_thread(self._wallet.take)
            if token is None:
                await self._fill()
                token = await asyncio.to_thread(self._wallet.take)
        if token is None:  # another process of this user was quicker, with all of them
            raise QuotaExhausted("the wallet is empty", hint="ask again")
        return token

    async def _fill(self) -> None:
        try:
            await self._fetch(self._batch)
        except QuotaExhausted:
            # The issuer fills whole batches or nothing: the last few come one by one.
            try:
                await self._fetch(1)
            except QuotaExhausted:
                self._exhausted = True
                raise
        self._exhausted = False

    async def _fetch(self, count: int) -> None:
        pending = await asyncio.to_thread(begin, self._spki, self._challenge, count)
        account = self._account
        signatures, _ = await self._issuer.issue(
            account.account, account.credential, pending.key_id, pending.blinded
        )
        await asyncio.to_thread(self._keep, pending, signatures)

    def _keep(self, pending: PendingTokens, signatures: tuple[bytes, ...]) -> None:
        self._wallet.add(pending.finish(signatures))
