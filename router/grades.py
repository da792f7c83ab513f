"""What people found of decisions afterwards, and which bounds that refutes. Numbers only.

Regret is a request that stayed on the device, where the answer was wrong and the cloud's would have
been right. Graded decisions that claimed an α count for that claim; those that claimed none, or
fell under another estimator, count for none.
"""

from dataclasses import dataclass, replace
from typing import Any

from router.decision import Decision
from router.drift import RegretWatch
from router.recorded import Graded
from router.strict import Fields, Malformed
from router.vocabulary import Destination, Stage

__all__ = ["Grades"]

MOST_CLAIMS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """Of one estimator's claims."""

    estimator: str
    """Digest; another estimator's claims are others."""
    watches: tuple[RegretWatch, ...] = ()

    @property
    def refuted(self) -> tuple[float, ...]:
        """Each α that graded requests speak against, rising."""
        return tuple(sorted(watch.alpha for watch in self.watches if watch.refuted))

    def observed(self, decision: Decision, graded: Graded) -> "Grades":
        """After one more; unchanged where it says nothing about a claim."""
        regret, claim = regret_of(decision, graded), decision.bound
        if regret is None or claim is None or claim.alpha is None:
            return self
        if decision.estimator_digest != self.estimator:
            return self
        by_alpha = {watch.alpha: watch for watch in self.watches}
        before = by_alpha.get(claim.alpha) or RegretWatch(alpha=claim.alpha)
        by_alpha[claim.alpha] = before.observed(regret)
        return replace(self, watches=tuple(by_alpha[alpha] for alpha in sorted(by_alpha)))

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "estimator": self.estimator,
            "watches": [
                {
                    "alpha": watch.alpha,
                    "graded": watch.graded,
                    "regrets": watch.regrets,
                    "windows": watch.windows,
                    "refuted": watch.refuted,
                }
                for watch in self.watches
            ],
        }

    @classmethod
    def read(cls, fields: Fields) -> "Grades":
        """Raises ``Malformed``."""
        estimator, rows = fields.text("estimator"), fields.each("watches")
        if len(rows) > MOST_CLAIMS:
            raise Malformed(fields.named("watches"), f"are more than {MOST_CLAIMS}")
        fields.done()
        return cls(estimator=estimator, watches=tuple(map(_read_watch, rows)))


def regret_of(decision: Decision, graded: Graded) -> bool | None:
    """``None`` where what was found does not tell: a wrong answer here, and nobody knows there.

    A request that fell back is no choice of the router's.
    """
    if decision.stage is Stage.FALLBACK:
        return None
    if decision.destination is not Destination.DEVICE or graded.device_good:
        return False
    if graded.cloud_good is False:
        return False
    if graded.device_good is None or graded.cloud_good is None:
        return None
    return True


def _read_watch(fields: Fields) -> RegretWatch:
    watch = RegretWatch(
        alpha=fields.number("alpha"),
        graded=fields.integer("graded"),
        regrets=fields.integer("regrets"),
        windows=fields.integer("windows"),
        refuted=fields.flag("refuted"),
    )
    fields.done()
    if not (0 < watch.alpha < 1 and 0 <= watch.regrets <= watch.graded):
        raise Malformed(fields.named("alpha"), "does not fit its counts")
    return watch
