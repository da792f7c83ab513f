"""The estimator Lanai fits and ships: two logistic heads, in one JSON file with its provenance.

It refuses every other pair of models than the one it was measured on. A file is read strictly: a
key that is missing, unknown or out of range is a ``ConfigError`` with its name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from lanai.errors import ConfigError
from router.bounds import Bounds
from router.category import CategoryPrior
from router.estimator import AfterAnswer, Estimate, estimate_by
from router.heads import Head
from router.isotonic import IsotonicMap
from router.pair import MeasuredPair
from router.probe import HiddenProbe
from router.strict import Fields, Malformed

__all__ = ["SCHEMA", "LogisticEstimator", "shipped_estimator"]

SCHEMA = "lanai.estimator/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticEstimator:
    """Two calibrated logistic heads and one small head for each signal alone.

    ``measurement`` is the provenance: sets, n, date, accuracies, AUROC with intervals. It is
    carried and shown, never computed with.
    """

    pair: MeasuredPair
    predictive: bool
    device_head: Head
    cloud_head: Head
    alone: Mapping[str, Head]
    measurement: Mapping[str, Any]
    probes: tuple[HiddenProbe, ...] = ()
    categories: tuple[CategoryPrior, ...] = ()
    isotonic: Mapping[str, IsotonicMap] = field(default_factory=dict)
    """Signal to map, in place of ``alone`` where it was fitted."""
    after_answer: AfterAnswer | None = None
    bounds: Bounds = field(default_factory=Bounds)
    reference: tuple[float, ...] = ()
    digest: str = field(default="", compare=False)
    calibrator_digest: str = field(default="", compare=False)

    @property
    def hidden_state(self) -> bool:
        return bool(self.probes)

    @property
    def signals(self) -> tuple[str, ...]:
        return self.device_head.signals + self.cloud_head.signals

    def known(self, category: str | None) -> str | None:
        measured = any(category in prior.logits for prior in self.categories)
        return category if measured else self.bounds.known(category)

    def estimate(self, values: Mapping[str, float | None]) -> Estimate:
        return estimate_by(self.device_head, self.cloud_head, values)

    def calibrate(self, signal: str, raw: float | None) -> float | None:
        if (fitted := self.isotonic.get(signal)) is not None:
            return fitted.chance(fitted.key, raw)
        head = self.alone.get(signal)
        return None if head is None or raw is None else head.probability({signal: raw})

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "pair": self.pair.to_json_dict(),
            "predictive": self.predictive,
            "device_head": self.device_head.to_json_dict(),
            "cloud_head": self.cloud_head.to_json_dict(),
            "alone": {name: head.to_json_dict() for name, head in self.alone.items()},
            "measurement": dict(self.measurement),
            **self._optional(),
        }

    def _optional(self) -> dict[str, Any]:
        """What is there: a file of a version that did not know a part reads the same."""
        parts = {
            "probes": [probe.to_json_dict() for probe in self.probes],
            "categories": [prior.to_json_dict() for prior in self.categories],
            "isotonic": [fitted.to_json_dict() for fitted in self.isotonic.values()],
            "after_answer": self.after_answer.to_json_dict() if self.after_answer else None,
            "bounds": self.bounds.to_json_dict() if self.bounds.overall else None,
            "reference": list(self.reference),
        }
        return {name: part for name, part in parts.items() if part}

    @classmethod
    def parse(cls, text: str, *, name: str = "estimator") -> "LogisticEstimator":
        """From JSON text. Raises ``ConfigError`` naming the key at fault."""
        try:
            return _read(json.loads(text))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{name} is not JSON, line {error.lineno}") from None
        except Malformed as error:
            raise ConfigError(f"{name}: {error}") from None
        except (ValueError, RecursionError):
            raise ConfigError(f"{name}: a number is too long, or a list too deep") from None

    @classmethod
    def load(cls, path: Path) -> "LogisticEstimator":
        try:
            return cls.parse(path.read_text(encoding="utf-8"), name=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the estimator {path}") from error


def shipped_estimator() -> LogisticEstimator:
    """The estimator measured on the default pair by ``lanai bench estimator``."""
    text = resources.files("router").joinpath("default_estimator.json").read_text("utf-8")
    return LogisticEstimator.parse(text, name="the shipped estimator")


def _read(value: object) -> LogisticEstimator:
    fields = Fields(value)
    if fields.text("schema") != SCHEMA:
        raise Malformed("schema", f"must be {SCHEMA}")
    alone = fields.fields("alone")
    estimator = LogisticEstimator(
        pair=MeasuredPair.read(fields.fields("pair")),
        predictive=fields.flag("predictive"),
        device_head=Head.read(fields.fields("device_head")),
        cloud_head=Head.read(fields.fields("cloud_head")),
        alone={name: Head.read(alone.fields(name)) for name in alone.names()},
        measurement=fields.mapping("measurement"),
        probes=tuple(map(HiddenProbe.read, fields.each("probes"))) if fields.has("probes") else (),
        categories=(
            tuple(map(CategoryPrior.read, fields.each("categories")))
            if fields.has("categories")
            else ()
        ),
        isotonic=_read_maps(fields) if fields.has("isotonic") else {},
        after_answer=(
            AfterAnswer.read(fields.fields("after_answer")) if fields.has("after_answer") else None
        ),
        bounds=Bounds.read(fields.fields("bounds")) if fields.has("bounds") else Bounds(),
        reference=_numbers(fields, "reference") if fields.has("reference") else (),
        digest=_digest(value),
        calibrator_digest=_calibrator_digest(value),
    )
    for part in (alone, fields):
        part.done()
    _check_maps(estimator)
    return estimator


def _read_maps(fields: Fields) -> dict[str, IsotonicMap]:
    return {fitted.key.signal: fitted for fitted in map(IsotonicMap.read, fields.each("isotonic"))}


def _check_maps(estimator: LogisticEstimator) -> None:
    """A map of another model's signal means something else."""
    device = estimator.pair.device.weights_sha256
    if any(fitted.key.model_sha256 != device for fitted in estimator.isotonic.values()):
        raise Malformed("isotonic.model_sha256", "must be the device model's")


def _numbers(fields: Fields, name: str) -> tuple[float, ...]:
    return tuple(Fields({name: value}).number(name) for value in fields.items(name))


def _calibrator_digest(value: object) -> str:
    parts = ("alone", "isotonic", "bounds", "reference")
    return _digest({part: value.get(part) for part in parts} if isinstance(value, dict) else {})


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
