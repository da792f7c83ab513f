"""What the cloud client tells: status, final record, receipt, disclosure. None of it is content."""

from dataclasses import dataclass

from device_agent.cloud_seam import StreamShape
from trust.verification import VerifiedNode

__all__ = ["CloudFinal", "CloudStatus", "Disclosure", "Receipt", "Timing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudStatus:
    """What is known of the enrolled cluster. ``reason`` ends in a ``Rejection`` word, if any."""

    configured: bool
    reachable: bool
    verified_nodes: int
    most_nodes: int
    """Most verified nodes in one roster of the last days: fewer now may be somebody's doing."""
    tokens_left: int | None
    """Tokens in the wallet; None when it is empty and the issuer has not refused to fill it."""
    tokens_lost: int
    """Tokens that left the wallet and brought no answer, since the enrolment."""
    model: str | None
    """None where nodes serve different ones: which would answer is not known."""
    weights: str | None
    """Digest of the model's folder (hex), as every verified node's release names it."""
    context_tokens: int
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One step, microseconds. On the node: since it received the header."""

    name: str
    start_us: int
    duration_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFinal:
    """The answer's last record, as the node sealed it."""

    finish_reason: str
    input_tokens: int
    output_tokens: int
    model: str
    timings: tuple[Timing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The verified node that answered, proved by its sealed frames (``docs/envelope.md``).

    ``node`` is its id and ``measurement`` its release's digest (hex), ``evidence`` the kind
    verified, ``log_checkpoint`` the checkpoint that proved its release: ``SIZE:ROOT``, root in hex.
    ``shape`` is what the stream's sizes and times had, as its frames were counted here.
    """

    node: str
    measurement: str
    evidence: str
    log_checkpoint: str
    shape: StreamShape

    @classmethod
    def of(cls, node: VerifiedNode, shape: StreamShape) -> "Receipt":
        return cls(
            node=node.node_id.hex(),
            measurement=node.measurement,
            evidence=node.evidence_kind,
            log_checkpoint=f"{node.checkpoint.size}:{node.checkpoint.root.hex()}",
            shape=shape,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """What left and came back so far (bytes of frames), and the node ids sealed to (hex)."""

    bytes_sent: int
    bytes_received: int
    nodes: tuple[str, ...]
