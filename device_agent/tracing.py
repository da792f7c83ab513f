"""OpenTelemetry spans of one request, kept together and stored whole when the request ends.

The tracer provider is our own, never the global one, and its root spans ignore any ambient trace:
the device's trace id stays on the device. Attributes pass only when `lanai.telemetry` names them
and their value is a number, a boolean or a short identifier: no other bytes can reach the store.

A store that fails never fails a request: the loss is counted, and said once in the log.
"""

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import format_span_id, format_trace_id, set_span_in_context

from device_agent.retention import DAY, WallReading, read_clocks
from device_agent.traces import SpanRecord, TraceStore
from lanai import __version__
from lanai.errors import LanaiError, TraceError
from lanai.telemetry import ALLOWED_ATTRIBUTES, Attr, Span

__all__ = ["RequestTrace", "Tracing"]

log = logging.getLogger(__name__)

OTLP_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}")
WITHHELD: Final = "withheld"
PRUNE_EVERY: Final = 256

AttributeValue = str | int | float | bool


class Tracing:
    """Makes request traces and stores them. Without a ``store`` each one is counted as lost.

    Those older than ``keep_days`` are dropped with the first that is stored, and with every
    ``PRUNE_EVERY`` after it. Age is told by the store's own clock: a wall clock that jumps drops
    nothing, and is counted (`lanai doctor` says how often).
    """

    def __init__(
        self,
        store: TraceStore | None,
        *,
        why: str = "there is no trace store",
        keep_days: int | None = None,
        clocks: Callable[[], WallReading] = read_clocks,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.store = store
        self._why = why
        self.lost = 0
        self._keep_days = keep_days
        self._clocks = clocks
        self._turns = itertools.count()
        self._collector = _Collector()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": "lanai", "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._collector)
        if any(environ.get(name) for name in OTLP_ENDPOINTS):
            _export_to_otlp(self._provider)
        self._tracer = self._provider.get_tracer("lanai", __version__)

    def request(self) -> "RequestTrace":
        return RequestTrace(self._tracer, self)

    def keep(self, trace_id: str, *, error: str | None, decision: Mapping[str, Any] | None) -> None:
        """Store the ended spans of one request. Never raises for a store that fails."""
        spans = self._collector.take(trace_id)
        if self.store is None:
            return self._count_loss(self._why)
        try:
            now_ns = self.store.save(spans, error=error, decision=decision, reading=self._clocks())
        except TraceError as fault:
            return self._count_loss(fault.message)
        return self._drop_old(self.store, now_ns)

    def _drop_old(self, store: TraceStore, now_ns: int) -> None:
        if self._keep_days is None or next(self._turns) % PRUNE_EVERY:
            return
        try:
            store.prune(before_ns=now_ns - self._keep_days * DAY)
        except TraceError as fault:
            log.warning("old traces were not dropped: %s", fault.message)

    def _count_loss(self, why: str) -> None:
        self.lost += 1
        if self.lost == 1:
            log.warning("a trace was not stored: %s", why)

    def close(self) -> None:
        self._provider.shutdown()
        if self.store is not None:
            self.store.close()


class RequestTrace:
    """The spans of one request. Steps are ended by their owner, the request by ``finish``."""

    def __init__(self, tracer: Tracer | Any, tracing: Tracing) -> None:
        self._tracer = tracer
        self._tracing = tracing
        # An empty context: no ambient trace of the app is continued, or handed on.
        self.root = Step(tracer.start_span(Span.REQUEST, context=Context()))
        self.id: str = self.root.trace_id

    @contextmanager
    def step(
        self, name: str, parent: "Step | None" = None, *, start_ns: int | None = None
    ) -> Iterator["Step"]:
        """A span around a block; a ``LanaiError`` leaves its class name in it."""
        step = self.begin(name, parent, start_ns=start_ns)
        try:
            yield step
        except LanaiError as error:
            step.set(Attr.ERROR, error.code)
            raise
        finally:
            step.end()

    def begin(
        self, name: str, parent: "Step | None" = None, *, start_ns: int | None = None
    ) -> "Step":
        context = set_span_in_context((parent or self.root).span, Context())
        return Step(self._tracer.start_span(name, context=context, start_time=start_ns))

    async def finish(
        self,
        *,
        error: str | None = None,
        decision: Mapping[str, Any] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """End the request's span and store everything, also when the caller is being cancelled.

        ``error`` is an error's class name, or ``cancelled``; ``then`` runs after, in the same
        thread.
        """
        self.root.set(Attr.ERROR, error)
        self.root.end()

        def keep() -> None:
            self._tracing.keep(self.id, error=error, decision=decision)
            then()

        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(keep)))


class Step:
    """One span that takes named, content-free attributes only."""

    __slots__ = ("span",)

    def __init__(self, span: OtelSpan) -> None:
        self.span = span

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.span.get_span_context().trace_id)

    def set(self, key: str, value: AttributeValue | None) -> None:
        """Set one attribute; ``None`` is left out. Raises ``ValueError`` for a key not named."""
        if key not in ALLOWED_ATTRIBUTES:
            raise ValueError(f"attribute {key} is not in lanai.telemetry")
        if value is not None:
            self.span.set_attribute(key, _printable(value))

    def end(self, end_ns: int | None = None) -> None:
        self.span.end(end_time=end_ns or time.time_ns())


class _Collector(SpanProcessor):
    """Ended spans by trace, until the request takes them."""

    def __init__(self) -> None:
        self._ended: dict[str, list[SpanRecord]] = {}

    def on_end(self, span: ReadableSpan) -> None:
        record = _record(span)
        self._ended.setdefault(record.trace_id, []).append(record)

    def take(self, trace_id: str) -> list[SpanRecord]:
        return self._ended.pop(trace_id, [])


def _record(span: ReadableSpan) -> SpanRecord:
    context = span.get_span_context()
    if context is None:
        raise ValueError("a span without context ended")
    start = span.start_time or 0
    return SpanRecord(
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent else None,
        name=span.name,
        start_ns=start,
        end_ns=max(span.end_time or start, start),  # a wall clock may have been set back
        attributes=dict(span.attributes or {}),
    )


def _printable(value: AttributeValue) -> AttributeValue:
    if isinstance(value, str):
        return str(value) if IDENTIFIER.fullmatch(value) else WITHHELD
    return value


def _export_to_otlp(provider: TracerProvider) -> None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError:
        log.warning("OTLP is asked for, but not installed: pip install 'lanai[otlp]'")
        return
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
