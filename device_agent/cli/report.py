"""``lanai report``: what left this device, when, why, how much, and to which verified node."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders

if TYPE_CHECKING:
    from device_agent.ledger import Disclosure

__all__ = ["report"]


@click.command()
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.json")
@json_option
def report(export: Path | None, as_json: bool) -> None:
    """Show the ledger: what left this device. It holds no content."""
    from device_agent.ledger import Ledger, ledger_path

    ledger = Ledger(ledger_path(Folders.standard()))
    disclosures, damaged = ledger.read()
    lost = _tokens_lost()
    document = _document(disclosures, damaged) | {"tokens_lost": lost}
    if export is not None:
        _write(export, document)
        say(f"wrote {export}")
    if as_json:
        emit_json(document)
    elif export is None:
        _table(disclosures)
    if lost:
        say(f"tokens sent without an answer: {lost}")
    if damaged:
        say(f"damaged lines skipped: {damaged}, in {ledger.path}")


def _tokens_lost() -> int:
    from device_agent.cloud.tally import Tally, tally_path

    return Tally(tally_path(Folders.standard()), cluster=None).counts().tokens_lost


def _document(disclosures: "tuple[Disclosure, ...]", damaged: int) -> dict[str, Any]:
    return {"disclosures": [each.to_json_dict() for each in disclosures], "damaged": damaged}


def _write(path: Path, document: dict[str, Any]) -> None:
    """Readable by this user only. Raises ``UsageError`` when the file cannot be written."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _table(disclosures: "tuple[Disclosure, ...]") -> None:
    if not disclosures:
        say("nothing has left this device")
        return
    click.echo(f"{'when':<14}  {'why':<22} {'sent':>8} {'back':>8}  {'node':<12}  outcome")
    for each in disclosures:
        click.echo(_line(each))


def _line(each: "Disclosure") -> str:
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(each.time))
    sent, back = _size(each.bytes_sent), _size(each.bytes_received)
    node = (each.node or "-")[:12]
    outcome = each.outcome or "unknown: count it as sent"
    return f"{when}  {each.reason:<22} {sent:>8} {back:>8}  {node:<12}  {outcome}"


def _size(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
