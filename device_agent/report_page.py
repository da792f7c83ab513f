"""What left this device as one page: no script, nothing fetched, readable by this user only."""

import time
from collections import Counter
from importlib.resources import files
from pathlib import Path

from device_agent.disclosure import Disclosure, LedgerContents
from device_agent.private_file import write_private

__all__ = ["write_page"]


def write_page(path: Path, found: LedgerContents, *, tokens_lost: int) -> None:
    """Write the page. Raises ``UsageError`` when the file cannot be written."""
    # Here, because jinja2 costs more to import than the rest of the command.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_template())
    whole = template.render(
        found=found,
        newest_first=tuple(reversed(found.disclosures)),
        tokens_lost=tokens_lost,
        sent=sum(each.bytes_sent or 0 for each in found.disclosures),
        reasons=Counter(each.reason for each in found.disclosures).most_common(),
        made=_when(time.time()),
        when=lambda each: _when(each.time),
        outcome=_outcome,
    )
    write_private(path, whole)


def _template() -> str:
    return files("device_agent").joinpath("report_page.html.jinja").read_text(encoding="utf-8")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _outcome(disclosure: Disclosure) -> str:
    return disclosure.outcome or "unknown: count it as sent"
