"""What is known of the cluster, put into words."""

from collections.abc import Iterable, Sequence

from device_agent.cloud.tally import Counts
from device_agent.cloud.values import CloudStatus
from lanai.errors import CloudUnavailable, DeadlineExceeded, LanaiError, TrustError
from trust.verification import VerifiedNode

__all__ = ["status_of"]


def status_of(
    nodes: Sequence[VerifiedNode],
    problem: LanaiError | None,
    tokens_left: int | None,
    counts: Counts,
) -> CloudStatus:
    """The status with these verified nodes, when ``problem`` is what went wrong on the way."""
    reason, hint = _reason(problem, len(nodes), tokens_left, counts.most_nodes)
    return CloudStatus(
        configured=True,
        reachable=not isinstance(problem, (CloudUnavailable, DeadlineExceeded)),
        verified_nodes=len(nodes),
        most_nodes=counts.most_nodes,
        tokens_left=tokens_left,
        tokens_lost=counts.tokens_lost,
        model=_agreed(node.model for node in nodes),
        weights=_agreed(node.weights for node in nodes),
        context_tokens=min((node.context_tokens for node in nodes), default=0),
        reason=reason,
        hint=hint,
    )


def _agreed(values: Iterable[str]) -> str | None:
    """What all say, if they all say the same."""
    said = set(values)
    return said.pop() if len(said) == 1 else None


def _reason(
    problem: LanaiError | None, nodes: int, tokens_left: int | None, most_nodes: int
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
    return f"ready, {_shown(nodes, most_nodes)}", None


def _shown(nodes: int, most: int) -> str:
    """A roster cut down to a node of somebody's choosing looks like this, and only like this."""
    count = "1 verified node" if nodes == 1 else f"{nodes} verified nodes"
    return f"{count}, fewer than the {most} seen before" if nodes < most else count
