"""``lanai bench``: measurements, mounted from what packages register under ``lanai.bench``."""

import click

from lanai.cli.mount import Mounted

__all__ = ["bench"]


class Measurements(Mounted):
    """The group whose members are registered under ``lanai.bench``."""

    entries = "lanai.bench"


@click.group(cls=Measurements)
def bench() -> None:
    """Measure speed, answers and costs on this machine."""
