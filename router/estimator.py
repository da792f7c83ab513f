"""What an estimator is: from signals to P(device good) and P(cloud good), for one measured pair.

It also says whether the measurement found its signals to predict anything: one that did not, keeps
requests on the device. The kind that Lanai fits and ships is in ``logistic``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from router.bounds import Bounds
from router.category import CategoryPrior
from router.heads import Head
from router.pair import MeasuredPair
from router.probe import HiddenProbe
from router.strict import Fields

__all__ = ["AfterAnswer", "Estimate", "Estimator", "estimate_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Calibrated probabilities that each side's answer would be good."""

    device_good: float
    cloud_good: float

    @property
    def benefit(self) -> float:
        return self.cloud_good - self.device_good


def estimate_by(device: Head, cloud: Head, values: Mapping[str, float | None]) -> Estimate:
    """By one head a side."""
    return Estimate(device_good=device.probability(values), cloud_good=cloud.probability(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterAnswer:
    """Heads over everything, the whole answer's statistics too; with a verdict of their own."""

    predictive: bool
    device_head: Head
    cloud_head: Head

    @property
    def signals(self) -> tuple[str, ...]:
        """What either head reads."""
        return self.device_head.signals + self.cloud_head.signals

    def estimate(self, values: Mapping[str, float | None]) -> Estimate:
        return estimate_by(self.device_head, self.cloud_head, values)

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

    @property
    def signals(self) -> tuple[str, ...]:
        """What its heads at prefill read."""

    def known(self, category: str | None) -> str | None:
        """The app's word where it is one of the estimator's own: a free word could be anything."""

    def estimate(self, values: Mapping[str, float | None]) -> Estimate: ...

    def calibrate(self, signal: str, raw: float | None) -> float | None:
        """P(device good | this signal alone); ``None`` where it was not fitted or not measured."""
