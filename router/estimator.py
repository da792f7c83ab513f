"""Estimators: from signals to P(device good) and P(cloud good), for the pair they were measured on.

An estimator carries its provenance and refuses every other pair of models. It also says whether the
measurement found its signals to predict anything: one that did not, keeps requests on the device.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from lanai.errors import ConfigError
from router.bounds import Bounds
from router.category import CategoryPrior
from router.heads import Head
from router.isotonic import IsotonicMap
from router.pair import MeasuredModel, MeasuredPair
from router.probe import HiddenProbe
from router.strict import Fields, Malformed

__all__ = [
    "SCHEMA",
    "AfterAnswer",
    "Estimate",
    "Estimator",
    "LogisticEstimator",
    "MeasuredModel",
    "MeasuredPair",
    "shipped_estimator",
]

SCHEMA = "lanai.estimator/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Calibrated probabilities that each side's answer would be good."""

    device_good: float
    cloud_good: float

    @property
    def benefit(self) -> float:
        return self.cloud_good - self.device_good


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterAnswer:
    """Heads over everything, the whole answer's statistics too; with a verdict of their own."""

    predictive: bool
    device_head: Head
    cloud_head: Head

    def estimate(self, values: Mapping[str, float | None]) -> Estimate:
        return _estimate(self.device_head, self.cloud_head, values)

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "predictive": self.predictive,
            "device_head": self.device_head.to_json_dict(),
            "cloud_head": self.cloud_head.to_json_dict(),
        }

    @classmethod
    def read(cls, fields: Fields) -> "AfterAnswer":
        """Raises ``Malformed``."""
        heads = cls(
            predictive=fields.flag("predictive"),
            device_head=Head.read(fields.fields("device_head")),
            cloud_head=Head.read(fields.fields("cloud_head")),
        )
        fields.done()
        return heads


class Estimator(Protocol):
    @property
    def digest(self) -> str: ...

    @property
    def calibrator_digest(self) -> str:
        """Of the maps and bounds alone: they may be refitted without the heads."""

    @property
    def pair(self) -> MeasuredPair: ...

    @property
    def bounds(self) -> Bounds: ...

    @property
    def reference(self) -> tuple[float, ...]:
        """Scores P(device good) − P(cloud good) of the questions the bounds are about."""

    @property
    def after_answer(self) -> AfterAnswer | None: ...

    @property
    def predictive(self) -> bool:
        """Did the measurement find that the signals tell where the cloud is better?"""

    @property
    def hidden_state(self) -> bool:
        """Do its signals need the hidden state of the prefill?"""

    @property
    def probes(self) -> tuple[HiddenProbe, ...]:
        """Its own signals, beside those every estimator may use."""

    @property
    def categories(self) -> tuple[CategoryPrior, ...]:
        """The app's word as a signal, one for each side."""

    def known(self, category: str | None) -> str | None:
        """The app's word where it is one of the estimator's own: a free word could be anything."""

    def estimate(self, values: Mapping[str, float | None]) -> Estimate: ...

    def calibrate(self, signal: str, raw: float | None) -> float | None:
        """P(device good | this signal alone); ``None`` where it was not fitted or not measured."""


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

    def known(self, category: str | None) -> str | None:
        measured = any(category in prior.logits for prior in self.categories)
        return category if measured else self.bounds.known(category)

    def estimate(self, values: Mapping[str, float | None]) -> Estimate:
        return _estimate(self.device_head, self.cloud_head, values)

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


def _estimate(device: Head, cloud: Head, values: Mapping[str, float | None]) -> Estimate:
    return Estimate(device_good=device.probability(values), cloud_good=cloud.probability(values))


def _numbers(fields: Fields, name: str) -> tuple[float, ...]:
    return tuple(Fields({name: value}).number(name) for value in fields.items(name))


def _calibrator_digest(value: object) -> str:
    parts = ("alone", "isotonic", "bounds", "reference")
    return _digest({part: value.get(part) for part in parts} if isinstance(value, dict) else {})


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
