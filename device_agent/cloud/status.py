"""What is known of the cluster, put into words."""

from collections.abc import Sequence

from device_agent.cloud.values import CloudStatus
from lanai.errors import CloudUnavailable, DeadlineExceeded, LanaiError, TrustError
from trust.verification import VerifiedNode

__all__ = ["status_of"]


def status_of(
    nodes: Sequence[VerifiedNode], problem: LanaiError | None, tokens_left: int | None
) -> CloudStatus:
    """The status with these verified nodes, when ``problem`` is what went wrong on the way."""
    reason, hint = _reason(problem, len(nodes), tokens_left)
    return CloudStatus(
        configured=True,
        reachable=not isinstance(problem, (CloudUnavailable, DeadlineExceeded)),
        verified_nodes=len(nodes),
        tokens_left=tokens_left,
        model=nodes[0].model if nodes else None,
        context_tokens=min((node.context_tokens for node in nodes), default=0),
        reason=reason,
        hint=hint,
    )


def _reason(
    problem: LanaiError | None, nodes: int, tokens_left: int | None
) -> tuple[str, str | None]:
    """Words for people; of a ``TrustError`` its reason, so that it can be counted."""
    if isinstance(problem, TrustError):
        return f"verification refused: {problem.reason.value}", problem.hint
    if problem is not None:
        return problem.message, problem.hint
    if not nodes:
        return "the cluster has no node", "`lanai cloud status` shows them"
    if tokens_left == 0:
        return "no tokens are left", "wait for a new quota"
    return "ready", None
