"""What the trace store holds, and how it stands in rows. No content."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SpanRecord", "TraceRecord", "read_span", "read_trace", "span_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """One step, in nanoseconds since 1970. The request itself has no ``parent_id``."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]

    @property
    def duration_ms(self) -> float:
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """One request. ``error`` is an error's class name; ``decision`` the router's JSON record."""

    trace_id: str
    started_ns: int
    duration_ns: int
    spans: int
    error: str | None
    decision: Mapping[str, Any] | None


def span_row(span: SpanRecord) -> tuple[Any, ...]:
    """Of the table `spans`."""
    attributes = json.dumps(dict(span.attributes), allow_nan=False)
    return (
        *(span.trace_id, span.span_id, span.parent_id, span.name),
        *(span.start_ns, span.end_ns, attributes),
    )


def read_span(row: tuple[Any, ...]) -> SpanRecord:
    """From a row of the table `spans`."""
    return SpanRecord(
        trace_id=row[0],
        span_id=row[1],
        parent_id=row[2],
        name=row[3],
        start_ns=row[4],
        end_ns=row[5],
        attributes=json.loads(row[6]),
    )


def read_trace(row: tuple[Any, ...]) -> TraceRecord:
    """From a row of the table `traces`."""
    return TraceRecord(
        trace_id=row[0],
        started_ns=row[1],
        duration_ns=row[2],
        spans=row[3],
        error=row[4],
        decision=None if row[5] is None else json.loads(row[5]),
    )
