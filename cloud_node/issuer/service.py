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
from cloud_node.listening import ListenConfig, serve
from cloud_node.refusals import refusing
from cloud_node.service import Service, ServiceConfig
from lanai.errors import CloudRefused, ConfigError, RefusalCode, TrustError
from protos.lanai.v1alpha import issuer_pb2_grpc as stubs
from protos.lanai.v1alpha.issuer_pb2 import IssueRequest, IssueResponse
from trust.tokens import TokenIssuer

__all__ = ["IssuerConfig", "IssuerService", "run"]

DAY_S: Final = 86_400


class IssuerConfig(ServiceConfig):
    """Where the issuer listens, its key and its book."""

    listen: ListenConfig
    token_key: Path
    """PEM of the RSA key tokens are signed with."""
    accounts: Path
    batch_limit: int = Limit(256, ge=1, le=4096)


class IssuerService(stubs.IssuerServicer):
    """Issues tokens to accounts. What it signs it cannot read. ``clock`` is unix seconds."""

    def __init__(
        self,
        key: TokenIssuer,
        book: AccountBook,
        log: EventLog,
        *,
        batch_limit: int = 256,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
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
        """1 authenticate, 2 check the batch, 3 count durably, 4 sign. Raises ``CloudRefused``."""
        # 1
        self._book.authenticate(request.account, request.credential)
        # 2
        self._check(request)
        # 3  before any signature exists: a crash may lose tokens, never leak uncounted ones
        day = int(self._clock()) // DAY_S
        remaining = self._book.charge(request.account, len(request.blinded), day=day)
        # 4
        try:
            signatures = [self._key.sign(blinded) for blinded in request.blinded]
        except TrustError:
            raise CloudRefused("blinded message", refusal=RefusalCode.BAD_REQUEST) from None
        return IssueResponse(signatures=signatures, remaining=remaining)

    def _check(self, request: IssueRequest) -> None:
        if request.token_key_id != self._key.key_id or not request.blinded:
            raise CloudRefused("key or batch", refusal=RefusalCode.BAD_REQUEST)
        if len(request.blinded) > self._batch_limit:
            raise CloudRefused("batch over the limit", refusal=RefusalCode.TOO_LARGE)


async def run(config: IssuerConfig, service: Service) -> None:
    """The process: key from its file, book, one server."""
    try:
        key = TokenIssuer.from_pem(config.token_key.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the token key: {error.strerror}") from None
    with closing(AccountBook(config.accounts)) as book:
        issuer = IssuerService(key, book, service.log, batch_limit=config.batch_limit)
        await serve(
            service,
            config.listen,
            lambda server: stubs.add_IssuerServicer_to_server(issuer, server),
        )
