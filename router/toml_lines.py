"""Which line of a TOML text sets a key: `tomllib` reads values and tells no places."""

import tomllib
from collections.abc import Sequence

__all__ = ["line_of"]


def line_of(key: str, text: str) -> int:
    """First line, from 1, of the statement that sets ``key`` (dotted), or its section; else 1.

    However it is written: under a header, inline, dotted, quoted, over several lines. ``text`` is
    TOML that parses.
    """
    lines, path = text.split("\n"), key.split(".")
    while path and not _sets(lines, len(lines), path):
        path.pop()
    return _first(lines, path) if path else 1


def _first(lines: Sequence[str], path: Sequence[str]) -> int:
    """Among the beginnings of the text that are TOML themselves, the last without the key ends
    right before the statement that sets it."""
    without, holds = 0, len(lines)
    while True:
        middle = (without + holds + 1) // 2
        tried = [*range(middle, holds), *range(middle - 1, without, -1)]
        here = next((end for end in tried if _sets(lines, end, path) is not None), None)
        if here is None:
            return without + 1
        if _sets(lines, here, path):
            holds = here
        else:
            without = here


def _sets(lines: Sequence[str], end: int, path: Sequence[str]) -> bool | None:
    """Do the first ``end`` lines set it? ``None``: they end within a statement."""
    try:
        found: object = tomllib.loads("".join(line + "\n" for line in lines[:end]))
    except tomllib.TOMLDecodeError:
        return None
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return True
