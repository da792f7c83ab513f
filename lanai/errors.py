"""Every error Lanai raises, under one root::

    LanaiError                      exit 1
    ├── UsageError                  exit 2   the call itself is wrong
    │   └── ConfigError                      unknown key, bad value, contradictory policy
    ├── ModelError
    │   ├── ModelNotFound
    │   ├── ChecksumMismatch                 the partial file is removed
    │   ├── ModelFormatError                 damaged or lying file
    │   ├── UnsupportedModel                 a sound file of an architecture not built here
    │   ├── DiskFull                         needed, free (bytes)
    │   └── AdapterError                     fault: why the adapter cannot be used
    ├── EngineError
    │   ├── ContextOverflow                  limit, used (tokens)
    │   ├── EngineCrashed                    the child ended; its requests failed, the app lives
    │   └── EngineClosed
    ├── AnswerError                          an answer came and cannot be used
    │   ├── ValidationFailed                 cut_off: max_tokens ended it before its form did
    │   └── ToolFailed                       name: of the tool whose failure ends the request
    ├── RouteError
    │   ├── NoRoute                          the rules leave neither device nor cloud
    │   └── ConsentRefused                   the app's last word: nothing leaves
    ├── CloudError
    │   ├── CloudUnavailable                 no cluster, no relay, no live node
    │   ├── CloudRefused                     a party answered with a code of the closed list
    │   ├── QuotaExhausted                   the wallet is empty and the issuer gives no more
    │   ├── StreamInterrupted                the answer broke off; what came is not an answer
    │   └── DeadlineExceeded
    ├── Refused                              side, concern: a guardrail said no
    ├── Busy                                 limit: as many requests as the agent runs at once
    ├── ExternalError                        status: of the endpoint that the app configured
    ├── StoreError                           the shared store failed
    ├── TraceError                           the local trace store failed or lacks the id
    ├── LedgerError                          a disclosure cannot be written down: nothing is sent
    ├── AuditError                           an audit cannot be made here: nothing is proved
    └── TrustError                  exit 10  fails closed, never retried with less protection
        ├── EvidenceRejected
        ├── LogRejected
        │   └── WitnessConflict              size: what the witness cosigned last
        ├── EnvelopeRejected
        ├── TokenRejected
        └── TrustRootRejected

An error carries data and a hint for a person; never a prompt, an answer or a token id. Each
``TrustError`` carries a ``reason`` from a closed list, so that it can be counted without a message.
"""

from enum import StrEnum

__all__ = [
    "AdapterError",
    "AdapterFault",
    "AnswerError",
    "AuditError",
    "Busy",
    "ChecksumMismatch",
    "CloudError",
    "CloudRefused",
    "CloudUnavailable",
    "Concern",
    "ConfigError",
    "ConsentRefused",
    "ContextOverflow",
    "DeadlineExceeded",
    "DiskFull",
    "EngineClosed",
    "EngineCrashed",
    "EngineError",
    "EnvelopeRejected",
    "EvidenceRejected",
    "ExternalError",
    "GuardSide",
    "LanaiError",
    "LedgerError",
    "LogRejected",
    "ModelError",
    "ModelFormatError",
    "ModelNotFound",
    "NoRoute",
    "QuotaExhausted",
    "RefusalCode",
    "Refused",
    "Rejection",
    "RouteError",
    "StoreError",
    "StreamInterrupted",
    "TokenRejected",
    "ToolFailed",
    "TraceError",
    "TrustError",
    "TrustRootRejected",
    "UnsupportedModel",
    "UsageError",
    "ValidationFailed",
    "WitnessConflict",
]


class RefusalCode(StrEnum):
    """Why a party of the cloud refused or failed a request. The only words that leave a node."""

    BAD_REQUEST = "bad_request"
    ENVELOPE_REJECTED = "envelope_rejected"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    TOKEN_INVALID = "token_invalid"  # noqa: S105  a code, not a secret
    TOKEN_SPENT = "token_spent"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    UNKNOWN_KEY = "unknown_key"
    NO_NODE = "no_node"
    BUSY = "busy"
    DRAINING = "draining"
    CONTEXT_OVERFLOW = "context_overflow"
    UNAUTHENTICATED = "unauthenticated"
    QUOTA_EXHAUSTED = "quota_exhausted"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"
    INTERNAL = "internal"


class Concern(StrEnum):
    """What a guardrail refuses a text for. The kind alone, never a word of it."""

    HARM = "harm"
    SELF_HARM = "self_harm"
    HATE = "hate"
    SEXUAL = "sexual"
    PRIVACY = "privacy"
    SECRETS = "secrets"
    INJECTION = "injection"
    OFF_TOPIC = "off_topic"
    OTHER = "other"


class GuardSide(StrEnum):
    """Which text a guardrail refused."""

    INPUT = "input"
    OUTPUT = "output"


class Rejection(StrEnum):
    """Why a verifier refused something. Closed: new checks add a word here first."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    VERSION = "version"
    KIND_NOT_ACCEPTED = "kind_not_accepted"
    EVIDENCE_MISSING = "evidence_missing"
    PROFILE = "profile"
    NOT_LOOPBACK = "not_loopback"
    SIGNATURE = "signature"
    KEY_BINDING = "key_binding"
    MEASUREMENT = "measurement"
    EVENT_LOG = "event_log"
    CHAIN = "chain"
    REVOKED = "revoked"
    DEBUG = "debug"
    TCB = "tcb"
    GUEST_POLICY = "guest_policy"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    LIFETIME = "lifetime"
    LEAF_MISMATCH = "leaf_mismatch"
    INCLUSION = "inclusion"
    CONSISTENCY = "consistency"
    CONFLICT = "conflict"
    ROLLBACK = "rollback"
    FREEZE = "freeze"
    MISMATCH = "mismatch"
    SPLIT_VIEW = "split_view"
    STALE_CHECKPOINT = "stale_checkpoint"
    WITNESS_QUORUM = "witness_quorum"
    UNKNOWN_KEY = "unknown_key"
    DECRYPTION = "decryption"
    COMMITMENT = "commitment"
    NOT_ADDRESSED = "not_addressed"
    TRUNCATED = "truncated"
    AFTER_END = "after_end"
    CHALLENGE = "challenge"
    KEY_OVERLAP = "key_overlap"


class AdapterFault(StrEnum):
    """Why an adapter cannot be used. The only words about one that leave the engine's process."""

    NOT_FOUND = "adapter_not_found"
    DAMAGED = "adapter_damaged"
    PICKLE = "adapter_pickle"
    TOO_LARGE = "adapter_too_large"
    NOT_FINITE = "adapter_not_finite"
    UNSUPPORTED = "adapter_unsupported"
    WRONG_BASE = "adapter_wrong_base"
    RANK = "adapter_rank"
    SHAPE = "adapter_shape"
    TARGET = "adapter_target"


class LanaiError(Exception):
    """Root of every error raised here.

    ``hint`` is one line a person can act on. ``exit_code`` is what the command ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """Stable name for telemetry and ``--json``: the class name."""
        return type(self).__name__


class UsageError(LanaiError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class ModelError(LanaiError):
    pass


class ModelNotFound(ModelError):
    pass


class ChecksumMismatch(ModelError):
    pass


class ModelFormatError(ModelError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or "the model's files are damaged: fetch it again")


class UnsupportedModel(ModelError):
    pass


class DiskFull(ModelError):
    def __init__(self, message: str, *, needed: int, free: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free


class AdapterError(ModelError):
    def __init__(self, message: str, *, fault: AdapterFault, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault


class EngineError(LanaiError):
    pass


class ContextOverflow(EngineError):
    """The prompt and the room for its answer do not fit. ``limit`` and ``used`` are tokens."""

    def __init__(self, message: str, *, limit: int, used: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.used = used


class EngineCrashed(EngineError):
    pass


class EngineClosed(EngineError):
    pass


class AnswerError(LanaiError):
    pass


class ValidationFailed(AnswerError):
    """The answer is not of the form asked for. ``cut_off``: it ended before its form did."""

    def __init__(self, message: str, *, cut_off: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.cut_off = cut_off


class ToolFailed(AnswerError):
    """A tool of the app failed. A tool may raise it: ``message`` is then what the model is told."""

    def __init__(self, message: str, *, name: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name


class RouteError(LanaiError):
    pass


class NoRoute(RouteError):
    """The rules leave no destination. ``reason`` is the router's closed reason code."""

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ConsentRefused(RouteError):
    pass


class CloudError(LanaiError):
    pass


class CloudUnavailable(CloudError):
    pass


class CloudRefused(CloudError):
    def __init__(self, message: str, *, refusal: RefusalCode, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal


class QuotaExhausted(CloudError):
    pass


class StreamInterrupted(CloudError):
    """The sealed stream ended before its marked last frame. ``received`` counts whole frames."""

    def __init__(self, message: str, *, received: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.received = received


class DeadlineExceeded(CloudError):
    pass


class Refused(LanaiError):
    """A guardrail refused the request (nothing was rendered or sent) or the answer.

    ``shown`` counts the characters of a streamed answer that were out before it was refused.
    """

    def __init__(
        self,
        message: str,
        *,
        side: GuardSide,
        concern: Concern,
        shown: int = 0,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.side = side
        self.concern = concern
        self.shown = shown


class Busy(LanaiError):
    """The agent runs ``limit`` requests already, and none ended in time."""

    def __init__(self, message: str, *, limit: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class ExternalError(LanaiError):
    """The endpoint outside failed. ``status``: of its answer, where one came."""

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StoreError(LanaiError):
    pass


class TraceError(LanaiError):
    pass


class LedgerError(LanaiError):
    pass


class AuditError(LanaiError):
    pass


class TrustError(LanaiError):
    exit_code = 10

    def __init__(self, message: str, *, reason: Rejection, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class EvidenceRejected(TrustError):
    pass


class LogRejected(TrustError):
    pass


class WitnessConflict(LogRejected):
    """The old size is not what the witness cosigned last: that is ``size``; prove from there."""

    def __init__(self, message: str, *, size: int, hint: str | None = None) -> None:
        super().__init__(message, reason=Rejection.CONFLICT, hint=hint)
        self.size = size


class EnvelopeRejected(TrustError):
    pass


class TokenRejected(TrustError):
    pass


class TrustRootRejected(TrustError):
    pass
