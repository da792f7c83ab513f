"""Stored traces as OpenTelemetry's own JSON (OTLP), for viewers that read files or take it by HTTP.

The JSON encoding of `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest` (OTLP 1.x:
ids in hex, times as decimal strings, enumerations as numbers). Attributes are those of the store,
which holds none that could be content.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from device_agent.traces import SpanRecord, TraceRecord
from lanai import __version__
from lanai.errors import UsageError
from lanai.telemetry import Attr, Span

__all__ = ["otlp_bytes", "otlp_request", "plain_rows"]

INTERNAL, CLIENT = 1, 3
"""Of ``SpanKind``."""
FAILED = 2
"""Of ``Status.StatusCode``."""

Stored = tuple[TraceRecord, Sequence[SpanRecord]]


def otlp_request(stored: Sequence[Stored]) -> dict[str, Any]:
    """One export request with every span of these traces."""
    spans = [_span(span) for _, spans in stored for span in spans]
    resource = {"service.name": "lanai", "service.version": __version__}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {"scope": {"name": "lanai", "version": __version__}, "spans": spans}
                ],
            }
        ]
    }


def otlp_bytes(stored: Sequence[Stored]) -> bytes:
    """The same in protobuf, which every receiver takes. Raises ``UsageError`` without `otlp`."""
    try:
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )
    except ImportError:
        raise UsageError(
            "sending traces needs the extra otlp", hint="pip install 'lanai[otlp]'"
        ) from None
    request = otlp_request(stored)
    for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for key in ("traceId", "spanId", "parentSpanId"):  # protobuf's own JSON has base64 here
            span[key] = b64encode(bytes.fromhex(span[key])).decode()
    message: bytes = ParseDict(request, ExportTraceServiceRequest()).SerializeToString()
    return message


def plain_rows(stored: Sequence[Stored]) -> Iterator[dict[str, Any]]:
    """One row a request: its record, its decision, its spans."""
    for trace, spans in stored:
        yield {
            "trace_id": trace.trace_id,
            "started_ns": trace.started_ns,
            "duration_ns": trace.duration_ns,
            "error": trace.error,
            "decision": trace.decision,
            "spans": [
                {
                    "span_id": span.span_id,
                    "parent_id": span.parent_id,
                    "name": span.name,
                    "start_ns": span.start_ns,
                    "end_ns": span.end_ns,
                    "attributes": dict(span.attributes),
                }
                for span in spans
            ],
        }


def _span(span: SpanRecord) -> dict[str, Any]:
    error = span.attributes.get(Attr.ERROR)
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id or "",
        "name": span.name,
        "kind": CLIENT if span.name == Span.CLOUD else INTERNAL,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "status": {"code": FAILED, "message": str(error)} if error else {},
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _typed(key, value)} for key, value in values.items()]


def _typed(key: str, value: object) -> dict[str, Any]:
    """A list where the convention has one; there is one answer to a request."""
    if key == Attr.FINISH_REASON:
        return {"arrayValue": {"values": [_value(value)]}}
    return _value(value)


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
