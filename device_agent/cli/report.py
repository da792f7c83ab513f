"""``lanai report``: what left this device, when, why, how much, and to which verified node."""

import json
import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders, private_folder

if TYPE_CHECKING:
    from device_agent.disclosure import Disclosure, LedgerContents

__all__ = ["report"]


@click.command()
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="write it there, for its owner's eyes alone",
)
@click.option("--ui", is_flag=True, help="a page of it, opened where there is a screen")
@click.option(
    "--content", is_flag=True, help="what was said too, where ledger_keep_content kept it"
)
@json_option
def report(export: Path | None, ui: bool, content: bool, as_json: bool) -> None:
    """Show the ledger: what left this device. No content, unless it was kept and is asked for."""
    from device_agent.ledger import Ledger, ledger_path
    from device_agent.private_file import write_private

    if ui and as_json:
        raise UsageError("--ui and --json are two forms of one report", hint="give one of them")
    ledger = Ledger(ledger_path(Folders.standard()))
    found, lost = ledger.read(), _tokens_lost()
    document = _document(found, content=content) | {"tokens_lost": lost}
    if export is not None:
        write_private(export, json.dumps(document, indent=2, allow_nan=False) + "\n")
        say(f"wrote {export}")
    if ui:
        _page(found, lost)
    elif as_json:
        emit_json(document)
    elif export is None:
        _table(found.disclosures, content=content)
    _say_rest(found, lost, ledger.path)


def _tokens_lost() -> int:
    from device_agent.cloud.tally import Tally, tally_path

    return Tally(tally_path(Folders.standard()), cluster=None).counts().tokens_lost


def _document(found: "LedgerContents", *, content: bool) -> dict[str, Any]:
    return {
        "disclosures": [each.to_json_dict(content=content) for each in found.disclosures],
        "damaged": found.damaged,
        "pruned": found.pruned,
    }


def _page(found: "LedgerContents", lost: int) -> None:
    """The path to stdout; opened too when a person sits before a screen."""
    from device_agent.report_page import write_page

    path = private_folder(Folders.standard().state) / "report.html"
    write_page(path, found, tokens_lost=lost)
    click.echo(path)
    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(path.as_uri())


def _say_rest(found: "LedgerContents", lost: int, path: Path) -> None:
    if lost:
        say(f"tokens sent without an answer: {lost}")
    if found.pruned:
        say(f"older disclosures dropped for their age: {found.pruned}")
    if found.damaged:
        say(f"damaged lines skipped: {found.damaged}, in {path}")


def _table(disclosures: "tuple[Disclosure, ...]", *, content: bool) -> None:
    if not disclosures:
        say("nothing has left this device")
        return
    click.echo(f"{'when':<11} {'why':<20} {'data':<8} {'sent':>8} {'back':>8} {'node':<12} outcome")
    for each in disclosures:
        click.echo(_line(each))
        for said in (each.content or ()) if content else ():
            click.echo(f"    {said}")


def _line(each: "Disclosure") -> str:
    when = time.strftime("%m-%d %H:%M", time.localtime(each.time))
    sent, back = _size(each.bytes_sent), _size(each.bytes_received)
    node = (each.node or ("external" if each.destination == "external" else "-"))[:12]
    outcome = each.outcome or "unknown: count it as sent"
    sizes = f"{sent:>8} {back:>8}"
    return f"{when:<11} {each.reason:<20} {each.data_class:<8} {sizes} {node:<12} {outcome}"


def _size(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
