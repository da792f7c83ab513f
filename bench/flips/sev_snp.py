"""Samples of kind ``sev_snp``: a captured Milan report and reports of a test authority."""

from collections.abc import Sequence
from pathlib import Path

from bench.flips.sample import FlipSample

__all__ = ["samples"]


def samples(data: Path) -> Sequence[FlipSample]:
    """None yet."""
    del data
    return ()
