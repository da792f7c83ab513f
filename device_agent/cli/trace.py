"""``lanai trace``: past requests and their steps. No content."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.trace_export import export, ui
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders

if TYPE_CHECKING:
    from device_agent.traces import SpanRecord, TraceRecord, TraceStore

__all__ = ["trace", "tree"]

NAME_WIDTH = 38


@click.group(cls=Group)
def trace() -> None:
    """Past requests: each step, and why it ran where it ran."""


trace.add_command(export)
trace.add_command(ui)


@trace.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """The newest requests first."""
    records = _store().traces(limit)
    if as_json:
        emit_json([_as_json(record) for record in records])
        return
    if not records:
        say("no traces yet")
    for record in records:
        click.echo(_line(record))


@trace.command()
@click.argument("trace_id", metavar="ID")
@json_option
def show(trace_id: str, as_json: bool) -> None:
    """Every step of one request (id, or the start of one), and its decision."""
    store = _store()
    record, spans = store.find(trace_id), store.spans(trace_id)
    if as_json:
        emit_json(_as_json(record) | {"spans": [_span_json(span) for span in spans]})
        return
    click.echo(f"trace {record.trace_id}")
    for line in tree(spans):
        click.echo(line)
    for line in _decision(record):
        click.echo(line)


def tree(spans: "Sequence[SpanRecord]") -> list[str]:
    """The steps as an indented tree: offset from the request's start, and duration."""
    roots = [span for span in spans if span.parent_id is None]
    return [line for root in roots for line in _branch(root, spans, root.start_ns, "", "")]


def _branch(
    span: "SpanRecord", spans: "Sequence[SpanRecord]", start_ns: int, lead: str, below: str
) -> Iterator[str]:
    name = (lead + span.name.removeprefix("lanai."))[:NAME_WIDTH]
    offset = (span.start_ns - start_ns) / 1e6
    note = _note(span)
    yield f"{name:<{NAME_WIDTH}}{offset:>9.1f} +{span.duration_ms:>9.1f} ms{note}".rstrip()
    children = [child for child in spans if child.parent_id == span.span_id]
    for child in children:
        last = child is children[-1]
        yield from _branch(
            child,
            spans,
            start_ns,
            below + ("└ " if last else "├ "),
            below + ("  " if last else "│ "),
        )


def _note(span: "SpanRecord") -> str:
    from lanai.telemetry import Attr, Span

    keys = (Attr.REASON,) if span.name == Span.ROUTE else ()
    words = [str(span.attributes[key]) for key in (*keys, Attr.ERROR) if key in span.attributes]
    if drafted := span.attributes.get(Attr.DRAFTED):
        words.append(f"guessed {span.attributes.get(Attr.ACCEPTED, 0)}/{drafted}")
    return "  " + " ".join(words) if words else ""


def _decision(record: "TraceRecord") -> list[str]:
    decision = record.decision
    if decision is None:
        return [f"ended before a decision: {record.error}"]
    where = decision["route"] or "no route"
    lines = [f"decision: {where}, {decision['stage']}: {decision['reason']}"]
    if decision["counterfactual"]:
        lines.append(f"          {decision['counterfactual']}")
    if shadow := decision.get("shadow"):
        said = shadow["route"] or ("no route" if shadow["reason"] else "not told")
        why = f": {shadow['reason']}" if shadow["reason"] else ""
        lines.append(f"shadow:   {said}{why} (policy {shadow['policy_digest'][:12]})")
    if record.error:
        lines.append(f"ended: {record.error}")
    return lines


def _line(record: "TraceRecord") -> str:
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(record.started_ns / 1e9))
    decision = record.decision or {}
    where, why = decision.get("route") or "-", decision.get("reason", "-")
    line = f"{record.trace_id[:12]}  {when}  {record.duration_ns / 1e6:>8.0f} ms  {where:<6} {why}"
    return f"{line}  {record.error}" if record.error else line


def _as_json(record: "TraceRecord") -> dict[str, Any]:
    return {
        "trace_id": record.trace_id,
        "started": record.started_ns / 1e9,
        "duration_ms": record.duration_ns / 1e6,
        "error": record.error,
        "decision": record.decision,
    }


def _span_json(span: "SpanRecord") -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "start": span.start_ns / 1e9,
        "duration_ms": span.duration_ms,
        "attributes": dict(span.attributes),
    }


def _store() -> "TraceStore":
    from device_agent.traces import TraceStore, traces_path

    return TraceStore.open(traces_path(Folders.standard()))
