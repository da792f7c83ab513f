"""What a threshold promises, and when it promises nothing.

An estimator may carry bounds of regret (``router.guarantee``): for some α, overall and by category,
the score P(device good) − P(cloud good) from which a request may be kept. Keeping fewer requests
than a bound allows never raises regret, so a decision claims the least α whose threshold its own
rule was at least as strict as. Else it claims none, and says why not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from router.guarantee import KeepBound
from router.policy_parts import Guarantee
from router.strict import Fields

__all__ = ["Bounds", "Claim", "NoBound"]


class NoBound(StrEnum):
    """Why no bound is claimed."""

    NOT_CALIBRATED = "not_calibrated"
    """The estimator has none for this kind of request, at what the policy asks for."""
    LOOSER = "looser_than_calibrated"
    """This policy keeps requests that the calibration would have sent."""
    DRIFTED = "drifted"
    """Requests are no longer like those it was calibrated on."""
    REFUTED = "refuted"
    """Graded requests showed more regret than it promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Regret per request is at most ``alpha`` with confidence 1 − ``delta``; or ``refused``."""

    alpha: float | None
    delta: float | None
    category: str | None
    refused: NoBound | None

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha,
            "delta": self.delta,
            "category": self.category,
            "refused": self.refused.value if self.refused else None,
        }

    @classmethod
    def read(cls, fields: Fields) -> "Claim":
        """Raises ``Malformed``."""
        claim = cls(
            alpha=fields.optional_number("alpha"),
            delta=fields.optional_number("delta"),
            category=fields.optional_text("category"),
            refused=fields.optional_word("refused", NoBound),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """All bounds of one calibration; they hold together."""

    overall: Sequence[KeepBound] = ()
    by_category: Mapping[str, Sequence[KeepBound]] | None = None

    def known(self, category: str | None) -> str | None:
        """The category, where it has bounds of its own."""
        return category if category in (self.by_category or {}) else None

    def kept_from(self, wanted: Guarantee, category: str | None) -> float | None:
        """Least score that the wanted bound keeps; ``None`` where no bound is good enough."""
        fit = [
            bound
            for bound in self._of(category)
            if bound.alpha <= wanted.alpha and bound.delta <= wanted.delta
        ]
        return min((bound.threshold for bound in fit), default=None)

    def claim(
        self,
        price: float | None,
        category: str | None,
        *,
        drifted: bool,
        refuted: Collection[float] = (),
    ) -> Claim:
        """``price``: benefit above which requests are sent; ``None``: none is, whatever it is.

        ``refuted``: each α that graded requests spoke against; none of them is claimed.
        """
        known, found = self.known(category), self._of(category)
        if not found:
            return _refused(NoBound.NOT_CALIBRATED, known)
        if drifted:
            return _refused(NoBound.DRIFTED, known)
        fit = [bound for bound in found if price is not None and -price >= bound.threshold]
        if not fit:
            return _refused(NoBound.LOOSER, known)
        standing = [bound for bound in fit if bound.alpha not in refuted]
        if not standing:
            return _refused(NoBound.REFUTED, known)
        best = min(standing, key=lambda bound: bound.alpha)
        return Claim(alpha=best.alpha, delta=best.delta, category=known, refused=None)

    def _of(self, category: str | None) -> Sequence[KeepBound]:
        known = self.known(category)
        return self.overall if known is None else (self.by_category or {})[known]

    def to_json_dict(self) -> dict[str, Any]:
        return {
            "overall": [each.to_json_dict() for each in self.overall],
            "by_category": {
                name: [each.to_json_dict() for each in bounds]
                for name, bounds in (self.by_category or {}).items()
            },
        }

    @classmethod
    def read(cls, fields: Fields) -> "Bounds":
        """Raises ``Malformed``."""
        named = fields.fields("by_category")
        bounds = cls(
            overall=[KeepBound.read(each) for each in fields.each("overall")],
            by_category={
                name: [KeepBound.read(each) for each in named.each(name)] for name in named.names()
            },
        )
        fields.done()
        return bounds


def _refused(why: NoBound, category: str | None) -> Claim:
    return Claim(alpha=None, delta=None, category=category, refused=why)
