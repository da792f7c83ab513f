"""One entry of the ledger, and the lines it stands on: no file is touched here.

Two lines make an entry: the *intent* before the first byte leaves, the *outcome* after. A line that
cannot be read (cut by power loss) counts as damaged. A marker says how many entries were dropped
for their age.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from lanai.content import Content

__all__ = [
    "CLOUD",
    "EXTERNAL",
    "INTENT",
    "OUTCOME",
    "Disclosure",
    "LedgerContents",
    "contents",
    "line_of",
    "without",
]

INTENT: Final = "intent"
OUTCOME: Final = "outcome"
PRUNED: Final = "pruned"
CLOUD: Final = "cloud"
EXTERNAL: Final = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """One request that left, or may have left, the device. Times are seconds since 1970.

    ``outcome`` is ``answered``, an error's class name, ``cancelled``, or ``None`` while unknown.
    """

    id: str
    time: float
    reason: str
    mode: str
    data_class: str
    outcome: str | None = None
    ended: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    nodes: tuple[str, ...] = ()
    """Ids of the verified nodes the request was sealed to."""
    node: str | None = None
    """The one that answered."""
    measurement: str | None = None
    evidence: str | None = None
    log_checkpoint: str | None = None
    destination: str = CLOUD
    """Or ``external``: readable by whoever runs the endpoint."""
    endpoint: str | None = None
    stored: float | None = field(default=None, repr=False)
    """When it was written, by the ledger's own clock (``retention``); older lines have none."""
    content: tuple[Content, ...] | None = field(default=None, repr=False)
    """What left, message by message; only where the user had it kept."""

    @property
    def aged_from(self) -> float:
        """What its age is reckoned from."""
        return self.time if self.stored is None else self.stored

    def to_json_dict(self, *, content: bool = False) -> dict[str, Any]:
        """Without what was said, unless it is asked for."""
        document = asdict(self) | {"nodes": list(self.nodes)}
        told, _ = document.pop("content"), document.pop("stored")
        return document | ({"content": list(told)} if content and told is not None else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerContents:
    """``disclosures`` in order of intent, each with its outcome where there is one.

    ``damaged`` lines were skipped; ``pruned`` disclosures were dropped for their age.
    """

    disclosures: tuple[Disclosure, ...] = ()
    damaged: int = 0
    pruned: int = 0


def line_of(kind: str, disclosure: Disclosure) -> bytes:
    """An intent's or an outcome's line, without its end."""
    record = disclosure.to_json_dict(content=True) | {"stored": disclosure.stored}
    return json.dumps({"kind": kind} | record, allow_nan=False).encode()


def contents(lines: Iterable[bytes]) -> LedgerContents:
    """What the lines of a ledger say."""
    found: dict[str, Disclosure] = {}
    damaged = pruned = 0
    for line in lines:
        try:
            if _is_marker(line):
                pruned += int(json.loads(line)["count"])
                continue
            disclosure = _parse(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += 1
            continue
        if (before := found.get(disclosure.id)) is not None:  # what left stands in the intent
            disclosure = replace(disclosure, content=before.content)
        found[disclosure.id] = disclosure
    return LedgerContents(disclosures=tuple(found.values()), damaged=damaged, pruned=pruned)


def without(old: frozenset[str], lines: Iterable[bytes], *, pruned: int, now: float) -> list[bytes]:
    """The lines but those of ``old`` entries; first a marker that ``pruned`` in all are gone.

    Damaged lines stay: nobody knows how old they are.
    """
    marker = json.dumps({"kind": PRUNED, "time": now, "count": pruned}).encode()
    return [marker, *(line for line in lines if _id(line) not in old and not _is_marker(line))]


def _parse(line: bytes) -> Disclosure:
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("kind", None) not in (INTENT, OUTCOME):
        raise ValueError("not a ledger line")
    if not (_is_time(record.get("time")) and _is_time(record.get("stored", 0.0) or 0.0)):
        raise ValueError("not a time")
    content = record.get("content")
    told = None if content is None else tuple(Content(str(each)) for each in content)
    return Disclosure(**record | {"nodes": tuple(record.get("nodes", ())), "content": told})


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e12  # neither NaN nor infinite


def _id(line: bytes) -> str | None:
    try:
        return _parse(line).id
    except (ValueError, TypeError, RecursionError):
        return None


def _is_marker(line: bytes) -> bool:
    return line.startswith(b'{"kind": "pruned"')
