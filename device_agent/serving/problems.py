"""Errors in OpenAI's shape, one for each way a request can fail. Messages hold no content."""

from dataclasses import dataclass
from typing import Any, Final

from lanai.errors import (
    Busy,
    CloudError,
    CloudUnavailable,
    ContextOverflow,
    DeadlineExceeded,
    EngineError,
    LanaiError,
    ModelError,
    NoRoute,
    QuotaExhausted,
    Refused,
    TrustError,
    UsageError,
    ValidationFailed,
)
from router.vocabulary import Reason

__all__ = ["Problem", "Unacceptable", "problem_of", "unsupported"]

PASSING: Final = frozenset({Reason.CLOUD_UNREACHABLE, Reason.CLOUD_NOT_VERIFIED})
"""Dead ends that another try may get around; every other is the caller's own rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the client is told. ``retry`` becomes ``x-should-retry``, which its library obeys."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    hint: str | None = None
    retry: bool = False

    def to_json_dict(self) -> dict[str, Any]:
        """The body: ``error`` as OpenAI has it, and the hint as an extension."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error | ({"lanai": {"hint": self.hint}} if self.hint else {})}

    def headers(self) -> dict[str, str]:
        named = {"x-should-retry": str(self.retry).lower(), "x-lanai-error": self.code}
        return named | ({"retry-after": "1"} if self.retry else {})


class Unacceptable(UsageError):
    """A request that never reached the agent. ``problem`` is what its client is told."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.problem = problem


def unsupported(param: str, why: str, *, hint: str | None = None) -> Unacceptable:
    """A field, or a value of one, that nothing here could honour."""
    return Unacceptable(
        Problem(
            status=400,
            type="invalid_request_error",
            code="unsupported_parameter",
            message=f"{param}: {why}",
            param=param,
            hint=hint,
        )
    )


def problem_of(error: LanaiError) -> Problem:
    """The agent's error, typed and with a status that its client's library acts rightly on."""
    if isinstance(error, Unacceptable):
        return error.problem
    status, kind, code, retry = _class_of(error)
    return Problem(
        status=status,
        type=kind,
        code=code,
        message=error.message,
        hint=error.hint,
        retry=retry,
    )


def _class_of(error: LanaiError) -> tuple[int, str, str, bool]:
    """Status, type, code, and whether the same request may succeed when sent again."""
    name = error.code
    match error:
        case ContextOverflow():
            return 400, "invalid_request_error", "context_length_exceeded", False
        case UsageError():
            return 400, "invalid_request_error", name, False
        case Refused():
            return 400, "invalid_request_error", "content_filter", False
        case Busy():
            return 429, "rate_limit_error", "too_many_requests", True
        case NoRoute():
            passing = error.reason in PASSING
            return 503 if passing else 422, "no_route", error.reason, passing
        case TrustError():
            return 502, "verification_rejected", error.reason.value, False
        case QuotaExhausted():
            return 429, "insufficient_quota", name, False
        case DeadlineExceeded():
            return 504, "timeout_error", name, False
        case CloudUnavailable():
            return 503, "cloud_error", name, True
        case CloudError():
            return 502, "cloud_error", name, False
        case ModelError():
            return 503, "model_error", name, False
        case ValidationFailed():
            return 422, "invalid_answer", name, True
        case EngineError():
            return 500, "server_error", name, True
        case _:
            return 500, "server_error", name, False
