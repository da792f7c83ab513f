"""What the demo prints of answers, times, traces and the ledger."""

import textwrap
from collections.abc import Sequence
from typing import Final

import click

from device_agent.cli.trace import tree
from device_agent.ledger import ledger_path
from device_agent.reply import Reply
from device_agent.traces import TraceStore, traces_path
from lanai.folders import Folders
from router.vocabulary import Destination

__all__ = ["WIDTH", "summary", "told", "wrapped"]

WIDTH: Final = 80


def told(reply: Reply) -> list[str]:
    """An answer with its source, its decision and its receipt."""
    decision, usage = reply.decision, reply.usage
    speed = f", {usage.tokens_per_s:.3g} tok/s" if usage.tokens_per_s else ""
    first = f", first text after {usage.ttft_ms:.0f} ms" if usage.ttft_ms else ""
    return [
        wrapped("answer", reply.text.strip()),
        wrapped("source", f"{reply.source} ({reply.model}{first}{speed})"),
        wrapped("decision", decision.explain()),
        wrapped("receipt", _receipt(reply)),
        wrapped("trace", reply.trace_id),
    ]


def _receipt(reply: Reply) -> str:
    if reply.receipt is None:
        return "none: nothing left the device"
    receipt = reply.receipt
    return (
        f"node {receipt.node[:16]}…, evidence {receipt.evidence}, measurement "
        f"{receipt.measurement[:16]}…, log checkpoint {receipt.log_checkpoint[:16]}…"
    )


def summary(folders: Folders, replies: Sequence[Reply], times: list[tuple[str, float]]) -> None:
    """Times of each step, where it is written down, and the trace of a request that left."""
    cloud = [reply for reply in replies if reply.source is Destination.CLOUD]
    click.echo("\n── time of each step ".ljust(WIDTH + 1, "─"))
    for name, seconds in times:
        click.echo(f"{name:<28}{seconds:>8.2f} s")
    click.echo("\n── where it is written down ".ljust(WIDTH + 1, "─"))
    click.echo(f"traces   {traces_path(folders)}")
    click.echo(f"ledger   {ledger_path(folders)}{'' if cloud else '  (nothing has left)'}")
    if replies:
        _show_trace(folders, (cloud or replies)[-1])


def _show_trace(folders: Folders, reply: Reply) -> None:
    click.echo(f"\n$ lanai trace show {reply.trace_id[:12]}")
    store = TraceStore.open(traces_path(folders))
    try:
        for line in tree(store.spans(reply.trace_id)):
            click.echo(line)
    finally:
        store.close()
    click.echo()


def wrapped(label: str, text: str) -> str:
    """A paragraph beside its label."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"{label:<9}",
        subsequent_indent=" " * 9,
        break_on_hyphens=False,
    )
