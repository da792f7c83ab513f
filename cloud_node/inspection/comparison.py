"""What is installed here, beside the release records of a log."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lanai.errors import LogRejected, Rejection
from trust.attestation.configuration import MeasuredSettings, measure_configuration
from trust.attestation.measurement import measure_folder, measure_software
from trust.attestation.release import Release

__all__ = ["Comparison", "MeasuredHere", "compare"]

MEASURED = ("software", "weights", "configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredHere:
    """This installation: digests (hex), and the settings that a configuration's digest covers.

    Which model and context a record is for, the record says.
    """

    software: str
    weights: str
    settings: MeasuredSettings

    @classmethod
    def of(cls, model_folder: Path, settings: MeasuredSettings) -> Self:
        """Read all of it from disk. Raises ``EvidenceRejected`` for what cannot be measured."""
        return cls(
            software=measure_software(), weights=measure_folder(model_folder), settings=settings
        )

    def like(self, record: Release) -> Release:
        """The record this installation would have, serving what ``record`` says."""
        settings = replace(
            self.settings, model_name=record.model, context_tokens=record.context_tokens
        )
        return Release(
            software=self.software,
            weights=self.weights,
            configuration=measure_configuration(settings),
            model=record.model,
            context_tokens=record.context_tokens,
            golden=record.golden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The record that comes closest: its leaf's ``index``, and which digests ``differ``."""

    index: int
    here: Release
    differs: tuple[str, ...]

    @property
    def published(self) -> bool:
        """Whether what is installed here is that leaf of the log, byte by byte."""
        return not self.differs


def compare(
    here: MeasuredHere, releases: Mapping[int, Release], *, index: int | None = None
) -> Comparison:
    """Find this installation among ``releases``, by index of their leaves; or only at ``index``.

    The newest of those that come equally close. Raises ``LogRejected`` (``inclusion``) when there
    is no such record at all.
    """
    asked = releases if index is None else {at: releases[at] for at in releases if at == index}
    if not asked:
        raise LogRejected(
            "the log holds no such release record",
            reason=Rejection.INCLUSION,
            hint="`lanai log audit` counts them",
        )
    found = (_beside(here, at, record) for at, record in sorted(asked.items(), reverse=True))
    return min(found, key=lambda comparison: len(comparison.differs))


def _beside(here: MeasuredHere, index: int, record: Release) -> Comparison:
    would_be = here.like(record)
    differs = tuple(name for name in MEASURED if getattr(would_be, name) != getattr(record, name))
    return Comparison(index=index, here=would_be, differs=differs)
