"""Past requests as one page: spans as a tree with bars, and why each ran where it ran.

No script, nothing fetched, readable by this user only.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from device_agent.private_file import write_private
from device_agent.traces import SpanRecord, TraceRecord
from lanai.errors import RouteError
from lanai.telemetry import Attr, Span
from router.refusal import read_record

__all__ = ["write_trace_page"]

Stored = tuple[TraceRecord, Sequence[SpanRecord]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One step: ``left`` and ``width`` are shares of the request, in percent."""

    name: str
    left: float
    width: float
    ms: float
    kind: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    id: str
    when: str
    ms: float
    route: str | None
    reason: str | None
    error: str | None
    spans: tuple[Bar, ...]
    why: tuple[str, ...]


def write_trace_page(path: Path, stored: Sequence[Stored]) -> None:
    """Write the page. Raises ``UsageError`` when the file cannot be written."""
    # Here, because jinja2 costs more to import than the rest of the command.
    from jinja2 import Environment, StrictUndefined

    requests = [_request(trace, spans) for trace, spans in stored]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("device_agent").joinpath("trace_page.html.jinja").read_text(encoding="utf-8")
    )
    whole = template.render(
        requests=requests,
        in_cloud=sum(each.route == "cloud" and not each.error for each in requests),
        failed=sum(each.error is not None for each in requests),
        made=_when(time.time_ns()),
    )
    write_private(path, whole)


def _request(trace: TraceRecord, spans: Sequence[SpanRecord]) -> Request:
    decision = trace.decision or {}
    return Request(
        id=trace.trace_id,
        when=_when(trace.started_ns),
        ms=trace.duration_ns / 1e6,
        route=decision.get("route"),
        reason=decision.get("reason"),
        error=trace.error,
        spans=tuple(_bars(None, spans, trace, depth=0)),
        why=_why(trace),
    )


def _bars(
    parent: str | None, spans: Sequence[SpanRecord], trace: TraceRecord, *, depth: int
) -> Iterator[Bar]:
    whole = max(trace.duration_ns, 1)
    for span in (each for each in spans if each.parent_id == parent):
        left = min(max((span.start_ns - trace.started_ns) / whole, 0.0), 1.0)
        away = span.name.startswith((Span.CLOUD, Span.NODE))
        wrong = Attr.ERROR in span.attributes
        yield Bar(
            name="  " * depth + span.name.removeprefix("lanai."),
            left=100 * left,
            width=100 * min((span.end_ns - span.start_ns) / whole, 1.0 - left),
            ms=span.duration_ms,
            kind=" wrong" if wrong else " away" if away else "",
            note="\n".join(f"{key} = {value}" for key, value in sorted(span.attributes.items())),
        )
        yield from _bars(span.span_id, spans, trace, depth=depth + 1)


def _why(trace: TraceRecord) -> tuple[str, ...]:
    if trace.decision is None:
        return ()
    try:
        return tuple(read_record(trace.decision).explain().splitlines())
    except RouteError as error:
        return (error.message,)


def _when(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds / 1e9))
