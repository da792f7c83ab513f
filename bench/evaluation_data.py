"""The public evaluation sets: in ``LANAI_DATA``, or in a folder beside the checkout."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["DATA", "data_option", "json_rows"]

REPOSITORY: Final = Path(__file__).resolve().parent.parent
DATA: Final = Path(os.environ.get("LANAI_DATA", REPOSITORY.parent / "shared" / "data"))

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=DATA,
    help="folder of the evaluation data",
)
"""``data: Path``."""


def json_rows(path: Path) -> Iterator[Any]:
    """What the lines of a JSONL file hold, one after the other."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, filter(str.strip, lines))
