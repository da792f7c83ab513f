"""The issuer's one method: authenticate, count, sign blindly."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from grpc import aio
from pydantic import Field as Limit

from cloud_node.events import Event, EventLog, Field
from cloud_node.issuer.accounts import AccountBook
from cloud_node.issuer.keys import IssuerKeys
from cloud_node.keyring import KeyRing
from cloud_node.listening import ListenConfig, serve
from cloud_node.refusals import refusing
from cloud_node.service import Service, ServiceConfig
from lanai.errors import CloudRefused, RefusalCode, TrustError
from protos.lanai.v1alpha import issuer_pb2_grpc as stubs
from protos.lanai.v1alpha.issuer_pb2 import IssueRequest, IssueResponse
from trust.tokens import MAX_BATCH, TokenIssuer

__all__ = ["IssuerConfig", "IssuerService", "run"]

DAY_S: Final = 86_400


class IssuerConfig(ServiceConfig):
    """Where the issuer listens, its keys and its book."""

    listen: ListenConfig
    keys: Path
    """Folder of the keys tokens are signed with."""
    accounts: Path
    batch_limit: int = Limit(MAX_BATCH, ge=1, le=MAX_BATCH)


class IssuerService(stubs.IssuerServicer):
    """Issues tokens to accounts. What it signs it cannot read. ``clock`` is unix seconds."""

    def __init__(
        self,
        keys: IssuerKeys,
        book: AccountBook,
        log: EventLog,
        *,
        batch_limit: int = MAX_BATCH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._book = book
        self._log = log
        self._batch_limit = batch_limit
        self._clock = clock

    async def Issue(  # noqa: N802  the wire's name
        self, request: IssueRequest, context: aio.ServicerContext[Any, Any]
    ) -> IssueResponse:
        """Sign a batch for an account that has quota for all of it."""
        async with refusing(context, self._log):
            # In a thread: the book syncs to disk, and each signature takes a millisecond.
            response = await asyncio.to_thread(self.issue, request)
        self._log.emit(Event.TOKENS_ISSUED, {Field.COUNT: len(response.signatures)})
        return response

    def issue(self, request: IssueRequest) -> IssueResponse:
        """Blind signatures for a whole batch, or none. Raises ``CloudRefused``, ``StoreError``.

        1. the account and its credential
        2. the key is one of ours and in its window; the batch is within bounds
        3. count the batch, durably: before any signature exists, so that a crash may lose tokens
           and never leaks uncounted ones
        4. sign
        """
        # 1
        self._book.authenticate(request.account, request.credential)
        # 2
        key = self._keys.find(request.token_key_id)
        self._check(request, key)
        # 3
        day = int(self._clock()) // DAY_S
        remaining = self._book.charge(request.account, len(request.blinded), day=day)
        # 4
        try:
            signatures = [key.sign(blinded) for blinded in request.blinded]
        except TrustError:
            raise CloudRefused("blinded message", refusal=RefusalCode.BAD_REQUEST) from None
        return IssueResponse(signatures=signatures, remaining=remaining)

    def _check(self, request: IssueRequest, key: TokenIssuer) -> None:
        if len(request.blinded) > self._batch_limit:
            raise CloudRefused("batch over the limit", refusal=RefusalCode.TOO_LARGE)
        if not request.blinded or not all(map(key.accepts, request.blinded)):
            raise CloudRefused("batch", refusal=RefusalCode.BAD_REQUEST)


async def run(config: IssuerConfig, service: Service) -> None:
    """The process: keys from their folder, book, one server."""
    keys = IssuerKeys(KeyRing(config.keys, "issuer"), clock=time.time)
    with closing(AccountBook(config.accounts)) as book:
        issuer = IssuerService(keys, book, service.log, batch_limit=config.batch_limit)
        await serve(
            service,
            config.listen,
            lambda server: stubs.add_IssuerServicer_to_server(issuer, server),
        )
