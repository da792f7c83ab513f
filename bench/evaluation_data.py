"""Where the public evaluation sets are: ``LANAI_DATA``, or a folder beside the checkout."""

import os
from pathlib import Path
from typing import Final

import click

__all__ = ["DATA", "data_option"]

REPOSITORY: Final = Path(__file__).resolve().parent.parent
DATA: Final = Path(os.environ.get("LANAI_DATA", REPOSITORY.parent / "shared" / "data"))

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=DATA,
    help="folder of the evaluation data",
)
"""``data: Path``."""
