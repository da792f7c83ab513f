"""What a request came to: tokens, bytes, seconds, money; for its record and for the next one."""

from collections.abc import Sequence

from device_agent.escalation import Escalation
from device_agent.reply import Ending
from router import Decision, Policy
from router.recorded import Realized

__all__ = ["ended"]


def ended(
    decision: Decision,
    trace_id: str,
    *,
    outcome: str,
    seconds: float,
    ending: Ending | None,
    calls: Sequence[Escalation],
    wasted: int,
    policy: Policy,
) -> Decision:
    """``calls``: every sealed call of the request; ``wasted`` of them were opened for nothing."""
    opened = [call for call in calls if call.opened]
    realized = Realized(
        outcome=outcome,
        seconds=seconds,
        input_tokens=ending.input_tokens if ending else None,
        output_tokens=ending.output_tokens if ending else None,
        cloud_requests=len(opened),
        wasted_requests=min(wasted, len(opened)),
        money=sum(_money(call, decision, policy) for call in opened),
        bytes_sent=sum(call.disclosed[0] for call in opened),
        bytes_received=sum(call.disclosed[1] for call in opened),
    )
    return decision.ended(trace_id, realized)


def _money(call: Escalation, decision: Decision, policy: Policy) -> float:
    """By the tokens the node counted; a call that broke off pays for its prompt."""
    if call.ending is not None:
        return policy.costs.money_of(call.ending.input_tokens, call.ending.output_tokens)
    asked = decision.circumstances.input_tokens if decision.circumstances else 0
    return policy.costs.money_of(asked, 0)
