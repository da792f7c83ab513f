"""Spans as a trace store holds them."""

from device_agent.traces import SpanRecord

__all__ = ["root_span"]


def root_span(trace_id: str) -> SpanRecord:
    """Of a whole request, in the first nanosecond of 1970."""
    return SpanRecord(
        trace_id=trace_id,
        span_id="00f067aa0ba902b7",
        parent_id=None,
        name="lanai.request",
        start_ns=1,
        end_ns=2,
        attributes={},
    )
