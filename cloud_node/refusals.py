"""Refusals on the wire: a gRPC status whose details are one word of ``RefusalCode``, nothing else.

Logic raises ``CloudRefused``; the edge of a service turns it into a status here. A foreign status
(of gRPC itself, or of a peer that does not keep to the list) never passes on its own text.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, NoReturn

import grpc
from grpc import aio

from cloud_node.events import Event, EventLog, Field
from cloud_node.intake import Intake
from lanai.errors import CloudRefused, RefusalCode, StoreError, TokenRejected

__all__ = ["STATUS", "note_refusal", "refusal_of", "refuse", "refusing"]

_Code = grpc.StatusCode

STATUS: Final[Mapping[RefusalCode, grpc.StatusCode]] = MappingProxyType(
    {
        RefusalCode.BAD_REQUEST: _Code.INVALID_ARGUMENT,
        RefusalCode.ENVELOPE_REJECTED: _Code.INVALID_ARGUMENT,
        RefusalCode.EXPIRED: _Code.FAILED_PRECONDITION,
        RefusalCode.REPLAYED: _Code.ALREADY_EXISTS,
        RefusalCode.TOKEN_INVALID: _Code.PERMISSION_DENIED,
        RefusalCode.TOKEN_SPENT: _Code.PERMISSION_DENIED,
        RefusalCode.TOKEN_EXPIRED: _Code.PERMISSION_DENIED,
        RefusalCode.UNKNOWN_KEY: _Code.FAILED_PRECONDITION,
        RefusalCode.NO_NODE: _Code.UNAVAILABLE,
        RefusalCode.BUSY: _Code.RESOURCE_EXHAUSTED,
        RefusalCode.DRAINING: _Code.UNAVAILABLE,
        RefusalCode.CONTEXT_OVERFLOW: _Code.INVALID_ARGUMENT,
        RefusalCode.UNAUTHENTICATED: _Code.UNAUTHENTICATED,
        RefusalCode.QUOTA_EXHAUSTED: _Code.RESOURCE_EXHAUSTED,
        RefusalCode.STORE_UNAVAILABLE: _Code.UNAVAILABLE,
        RefusalCode.TOO_LARGE: _Code.OUT_OF_RANGE,
        RefusalCode.INTERNAL: _Code.INTERNAL,
    }
)
_FROM_STATUS: Final[Mapping[grpc.StatusCode, RefusalCode]] = MappingProxyType(
    {_Code.RESOURCE_EXHAUSTED: RefusalCode.TOO_LARGE, _Code.UNAVAILABLE: RefusalCode.NO_NODE}
)
_WORDS: Final = frozenset(code.value for code in RefusalCode)


def refusal_of(error: aio.AioRpcError) -> RefusalCode:
    """The refusal a peer's status means. Words outside the list become what gRPC's code implies."""
    details = error.details()
    if details in _WORDS:
        return RefusalCode(details)
    return _FROM_STATUS.get(error.code(), RefusalCode.INTERNAL)


async def refuse(context: aio.ServicerContext[Any, Any], code: RefusalCode) -> NoReturn:
    """End the call with ``code``."""
    await context.abort(STATUS[code], code.value)


@asynccontextmanager
async def refusing(
    context: aio.ServicerContext[Any, Any], log: EventLog, intake: Intake[Any] | None = None
) -> AsyncIterator[None]:
    """Turn what the block raises into a refusal, with an event; ``intake`` is drained before.

    A peer's refusal passes through as its word. Cancellation and aborts pass untouched.
    """
    try:
        yield
    except aio.AbortError:
        raise
    except Exception as error:  # noqa: BLE001  gRPC would put any exception's text on the wire
        code = note_refusal(log, error)
        if intake is not None:
            await intake.drain()
        await refuse(context, code)


def note_refusal(log: EventLog, error: Exception) -> RefusalCode:
    """The refusal that ``error`` means, with an event that says so."""
    code = _code(error)
    unexpected = error if code is RefusalCode.INTERNAL else None
    log.emit(Event.REQUEST_REFUSED, {Field.CODE: code}, error=unexpected)
    return code


def _code(error: Exception) -> RefusalCode:
    match error:
        case aio.AioRpcError():
            return refusal_of(error)
        case CloudRefused():
            return error.refusal
        case TokenRejected():
            return RefusalCode.TOKEN_INVALID
        case StoreError():
            return RefusalCode.STORE_UNAVAILABLE
        case _:
            return RefusalCode.INTERNAL
