"""What past requests left behind: λ and purse, usual seconds, drift, grades. Numbers only.

A pure value: the agent keeps it in a file, and tells it every decision with what it came to.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from router.circumstances import Standing
from router.decision import Decision
from router.drift import FEWEST, Drift, DriftMonitor
from router.estimator import Estimator
from router.grades import Grades
from router.pacing import Pace
from router.policy import Policy
from router.recorded import Graded
from router.strict import Fields, Malformed
from router.vocabulary import Destination

__all__ = ["Experience", "Watch"]

SCHEMA = "lanai.experience/1"
NEWEST = 0.2
"""Part of the newest answer in the usual seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Drift of one estimator's score: the window so far, and the last full window's verdict."""

    estimator: str
    """Digest; another estimator's scores are others."""
    recent: tuple[float, ...] = ()
    windows: int = 0
    alarms: int = 0
    distance: float | None = None
    limit: float | None = None

    @property
    def drifted(self) -> bool:
        return None not in (self.distance, self.limit) and self.last.drifted

    @property
    def last(self) -> Drift:
        return Drift(distance=self.distance or 0.0, limit=self.limit or 0.0)

    def observed(self, score: float, reference: tuple[float, ...]) -> "Watch":
        monitor = DriftMonitor(np.array(reference), recent=self.recent)
        found = monitor.observe(round(score, 6))
        if found is None:
            return replace(self, recent=monitor.recent)
        return Watch(
            estimator=self.estimator,
            windows=self.windows + 1,
            alarms=self.alarms + found.drifted,
            distance=found.distance,
            limit=found.limit,
        )

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "estimator": self.estimator,
            "recent": list(self.recent),
            "windows": self.windows,
            "alarms": self.alarms,
            "distance": self.distance,
            "limit": self.limit,
        }

    @classmethod
    def read(cls, fields: Fields) -> "Watch":
        """Raises ``Malformed``."""
        watch = cls(
            estimator=fields.text("estimator"),
            recent=fields.numbers("recent"),
            windows=fields.integer("windows"),
            alarms=fields.integer("alarms"),
            distance=fields.optional_number("distance"),
            limit=fields.optional_number("limit"),
        )
        fields.done()
        return watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Begin with ``Experience()``; each request gives the next one."""

    pace: Pace | None = None
    device_s: float | None = None
    cloud_s: float | None = None
    watch: Watch | None = None
    grades: Grades | None = None
    requests: int = 0
    wasted: int = 0
    """Sealed calls that were opened ahead and not needed."""

    def standing(self, policy: Policy, estimator: Estimator | None, now_s: float) -> Standing:
        """For the next request, at ``now_s`` by the wall clock."""
        pace, budget = None, policy.budget
        if budget is not None:
            pace = (self.pace or Pace(at_s=now_s)).passed(now_s, budget)
        return Standing(
            weight=pace.weight(policy.costs, budget) if pace and budget else None,
            money_left=pace.money_left(budget) if pace and budget else None,
            device_s=self.device_s,
            cloud_s=self.cloud_s,
            drifted=watch.drifted if (watch := self._watch(estimator)) else False,
            refuted=self.grades_of(estimator).refuted if estimator else (),
        )

    def after(
        self, decision: Decision, policy: Policy, estimator: Estimator | None, now_s: float
    ) -> "Experience":
        """``decision`` as it ended. Without ``realized`` nothing is learned of time or money."""
        realized = decision.realized
        learned = replace(
            self,
            requests=self.requests + 1,
            wasted=self.wasted + (realized.wasted_requests if realized else 0),
            pace=self._paced(realized.money if realized else 0.0, policy, now_s),
            watch=self._watched(decision, estimator),
        )
        if realized is None or realized.outcome != "answered":
            return learned
        if decision.destination is Destination.DEVICE:
            return replace(learned, device_s=_usual(self.device_s, realized.seconds))
        if decision.destination is Destination.EXTERNAL:
            return learned  # never weighed
        return replace(learned, cloud_s=_usual(self.cloud_s, realized.seconds))

    def graded(
        self, decision: Decision, graded: Graded, estimator: Estimator | None
    ) -> "Experience":
        """``decision``'s answers were judged."""
        if estimator is None:
            return self
        return replace(self, grades=self.grades_of(estimator).observed(decision, graded))

    def grades_of(self, estimator: Estimator) -> Grades:
        """Of this estimator's claims; another's say nothing of them."""
        known = self.grades
        if known is not None and known.estimator == estimator.digest:
            return known
        return Grades(estimator=estimator.digest)

    def _paced(self, money: float, policy: Policy, now_s: float) -> Pace | None:
        if (budget := policy.budget) is None:
            return self.pace
        return (self.pace or Pace(at_s=now_s)).passed(now_s, budget).spent(money, budget)

    def _watch(self, estimator: Estimator | None) -> Watch | None:
        watch = self.watch
        return watch if watch and estimator and watch.estimator == estimator.digest else None

    def _watched(self, decision: Decision, estimator: Estimator | None) -> Watch | None:
        """By the raw signals of the prefill, also where a later stage decided."""
        if estimator is None or decision.estimator_digest != estimator.digest:
            return self.watch
        if len(estimator.reference) < FEWEST:
            return self.watch
        estimate = estimator.estimate({each.name: each.raw for each in decision.signals})
        watch = self._watch(estimator) or Watch(estimator=estimator.digest)
        return watch.observed(-estimate.benefit, estimator.reference)

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "pace": self.pace.to_json_dict() if self.pace else None,
            "device_s": self.device_s,
            "cloud_s": self.cloud_s,
            "watch": self.watch.to_json_dict() if self.watch else None,
            "grades": self.grades.to_json_dict() if self.grades else None,
            "requests": self.requests,
            "wasted": self.wasted,
        }

    @classmethod
    def read(cls, value: object) -> "Experience":
        """Raises ``Malformed``."""
        fields = Fields(value)
        if fields.text("schema") != SCHEMA:
            raise Malformed("schema", f"must be {SCHEMA}")
        experience = cls(
            pace=None if (part := fields.part("pace")) is None else Pace.read(part),
            device_s=fields.optional_number("device_s"),
            cloud_s=fields.optional_number("cloud_s"),
            watch=None if (part := fields.part("watch")) is None else Watch.read(part),
            grades=None if (part := fields.part("grades")) is None else Grades.read(part),
            requests=fields.integer("requests"),
            wasted=fields.integer("wasted"),
        )
        fields.done()
        return experience


def _usual(before: float | None, seconds: float) -> float:
    return seconds if before is None else before + NEWEST * (seconds - before)
