"""``lanai trace export`` and ``lanai trace ui``: past requests for viewers, and for a browser."""

import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lanai.cli.output import say
from lanai.errors import CloudUnavailable, UsageError
from lanai.folders import Folders, private_folder

if TYPE_CHECKING:
    from device_agent.traces import SpanRecord, TraceRecord

__all__ = ["export", "ui"]

SEND_TIMEOUT_S = 10.0

limit_option = click.option(
    "--last", type=click.IntRange(1), default=1000, show_default=True, help="so many, if none named"
)
ids_argument = click.argument("trace_ids", nargs=-1, metavar="[ID]...")


@click.command()
@ids_argument
@limit_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["otlp", "jsonl"]),
    default="otlp",
    show_default=True,
    help="otlp: one export request as JSON; jsonl: a request a line, with its decision",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="FILE [default: -]")
@click.option(
    "--to", metavar="URL", help="send OTLP there, such as http://localhost:6006/v1/traces"
)
def export(
    trace_ids: tuple[str, ...], last: int, form: str, out: Path | None, to: str | None
) -> None:
    """Write or send past requests: spans with GenAI and lanai.route attributes, no content."""
    from device_agent.private_file import write_private
    from device_agent.trace_export import otlp_bytes, otlp_request, plain_rows

    if to is not None and (out is not None or form == "jsonl"):
        raise UsageError("--to sends OTLP", hint="leave out --out and --format")
    stored = _stored(trace_ids, last)
    if to is not None:
        _send(to, otlp_bytes(stored))
        say(f"sent {len(stored)} traces")
        return
    rows = [otlp_request(stored)] if form == "otlp" else plain_rows(stored)
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    if out is None or str(out) == "-":
        click.echo(text, nl=False)
        return
    write_private(out, text)
    say(f"wrote {len(stored)} traces to {out}")


@click.command()
@ids_argument
@click.option("--last", type=click.IntRange(1), default=100, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="FILE.html")
def ui(trace_ids: tuple[str, ...], last: int, out: Path | None) -> None:
    """Past requests as one page, opened where there is a screen; the path goes to stdout."""
    from device_agent.trace_page import write_trace_page

    path = out or private_folder(Folders.standard().state) / "traces.html"
    write_trace_page(path, _stored(trace_ids, last))
    click.echo(path)
    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(path.absolute().as_uri())


def _stored(
    trace_ids: tuple[str, ...], last: int
) -> "Sequence[tuple[TraceRecord, Sequence[SpanRecord]]]":
    from device_agent.traces import TraceStore, traces_path

    store = TraceStore.open(traces_path(Folders.standard()))
    try:
        traces = [store.find(each) for each in trace_ids] or list(store.traces(last))
        return [(each, store.spans(each.trace_id)) for each in traces]
    finally:
        store.close()


def _send(url: str, body: bytes) -> None:
    """Raises ``CloudUnavailable`` where nobody takes it."""
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise UsageError("--to takes an http or https address")
    asked = urllib.request.Request(  # noqa: S310  the scheme was checked
        url, data=body, headers={"content-type": "application/x-protobuf"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=SEND_TIMEOUT_S):  # noqa: S310
            return
    except (urllib.error.URLError, OSError) as error:
        raise CloudUnavailable(
            f"the viewer did not take the traces: {error}", hint="is it running at this address?"
        ) from None
