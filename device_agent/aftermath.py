"""What a request came to: tokens, bytes, seconds, money; for its record and for the next one."""

from collections.abc import Sequence

from device_agent.escalation import Escalation
from device_agent.reply import Ending, Reply
from device_agent.runtime import Ask
from device_agent.tracing import Step
from lanai.content import Content
from lanai.telemetry import Attr
from router import DataClass, Decision, Policy
from router.recorded import Realized

__all__ = ["describe", "describe_end", "ended"]


def describe(root: Step, ask: Ask, data_class: DataClass, reply: Reply[Content] | None) -> None:
    """Attributes of the request's own span."""
    root.set(Attr.OPERATION, "chat")
    root.set(Attr.PROVIDER, "lanai")
    root.set(Attr.MODE, ask.mode.value)
    root.set(Attr.DATA_CLASS, data_class.value)
    root.set(Attr.MAX_TOKENS, ask.max_tokens)
    root.set(Attr.TEMPERATURE, ask.options.temperature)
    if reply is not None:
        root.set(Attr.MODEL, reply.model)
        root.set(Attr.ROUTE, reply.source.value)
        root.set(Attr.INPUT_TOKENS, reply.usage.input_tokens)
        root.set(Attr.OUTPUT_TOKENS, reply.usage.output_tokens)
        root.set(Attr.TTFT_MS, reply.usage.ttft_ms)
        root.set(Attr.FINISH_REASON, reply.finish_reason.value)


def describe_end(root: Step, decision: Decision) -> None:
    """And those of what it came to."""
    root.set(Attr.HEDGED, decision.hedged)
    if (realized := decision.realized) is not None:
        root.set(Attr.OUTCOME, realized.outcome)
        root.set(Attr.MONEY, realized.money)
        root.set(Attr.WASTED, realized.wasted_requests)


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
