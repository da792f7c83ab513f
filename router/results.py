"""Reads per-question results of two models: ``id,subject,prompt,weak_correct,strong_correct``.

An optional column ``confidence`` holds the device's own confidence in its answer, higher is surer.
Prompts are content: they are kept in memory only, and no error carries one.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lanai.errors import ConfigError
from router.fitting import fold_numbers

__all__ = ["Results", "read_ids", "read_results"]

COLUMNS = ("id", "subject", "prompt", "weak_correct", "strong_correct")
FLAGS: Mapping[str, float] = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Questions with both sides' grades; shapes (questions,)."""

    ids: tuple[str, ...]
    subjects: tuple[str, ...]
    prompts: tuple[str, ...] = field(repr=False)
    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    confidence: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gain(self) -> NDArray[np.float64]:
        """1 where only the strong model is right, −1 where only the weak one is."""
        return self.strong - self.weak

    def groups(self, column: str | None) -> list[str]:
        """What stays on one side of a split: a subject, or copies of one prompt."""
        return list(self.subjects if column == "subject" else map(_same, self.prompts))

    def folds(self, column: str | None, *, folds: int, seed: int = 0) -> NDArray[np.intp]:
        """The fold of each row, by group; grades are dealt out evenly unless groups are subjects.

        A prompt that stands in two subjects ties neither: copies across folds are left to
        ``without_prompts``.
        """
        groups = self.groups(column)
        strata = self.gain.tolist() if column is None else [0] * len(groups)
        return fold_numbers(groups, strata, folds=min(folds, len(set(groups))), seed=seed)

    def without_ids(self, ids: frozenset[str]) -> "Results":
        return self.rows([row for row, name in enumerate(self.ids) if name not in ids])

    def without_prompts(self, other: "Results") -> "Results":
        """Leave out every prompt that ``other`` holds too."""
        known = set(map(_same, other.prompts))
        return self.rows([r for r, prompt in enumerate(self.prompts) if _same(prompt) not in known])

    def rows(self, rows: Sequence[int] | NDArray[np.intp]) -> "Results":
        chosen = np.asarray(rows, dtype=np.intp)
        return Results(
            ids=tuple(self.ids[row] for row in chosen),
            subjects=tuple(self.subjects[row] for row in chosen),
            prompts=tuple(self.prompts[row] for row in chosen),
            weak=self.weak[chosen],
            strong=self.strong[chosen],
            confidence=None if self.confidence is None else self.confidence[chosen],
        )


def read_results(path: Path) -> Results:
    """Raises ``ConfigError`` naming the file, the line and the column at fault."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}") from None


def read_ids(path: Path) -> frozenset[str]:
    """One id a line, such as those a publisher lists as contaminated."""
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}") from None


def _read(file: Iterable[str], name: str) -> Results:
    reader = csv.DictReader(file)
    held = reader.fieldnames or []
    if missing := [column for column in COLUMNS if column not in held]:
        raise ConfigError(
            f"{name}, line 1: no column {missing[0]}", hint=f"needs {', '.join(COLUMNS)}"
        )
    rows = list(_rows(reader, name, sure="confidence" in held))
    if not rows:
        raise ConfigError(f"{name} holds no row")
    ids, subjects, prompts, weak, strong, confidence = zip(*rows, strict=True)
    if len(set(ids)) != len(ids):
        raise ConfigError(f"{name}: an id stands twice")
    return Results(
        ids=ids,
        subjects=subjects,
        prompts=prompts,
        weak=np.array(weak),
        strong=np.array(strong),
        confidence=np.array(confidence) if "confidence" in held else None,
    )


Row = tuple[str, str, str, float, float, float]


def _rows(reader: "csv.DictReader[str]", name: str, *, sure: bool) -> Iterator[Row]:
    for row in reader:
        place = f"{name}, line {reader.line_num}"
        if any(row[column] is None for column in COLUMNS) or None in row:
            raise ConfigError(f"{place}: not as many fields as the first line")
        weak, strong = (_flag(row[c], place, c) for c in ("weak_correct", "strong_correct"))
        confidence = _number(row["confidence"], place) if sure else 0.0
        yield row["id"], row["subject"], row["prompt"], weak, strong, confidence


def _flag(text: str, place: str, column: str) -> float:
    value = FLAGS.get(text.strip().lower())
    if value is None:
        raise ConfigError(f"{place}: {column} must be 0 or 1")
    return value


def _number(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ConfigError(f"{place}: confidence must be a finite number")
    return value


def _same(prompt: str) -> str:
    """Equal for copies of one prompt."""
    return " ".join(prompt.split())
