"""What surrounds a request besides its text: device, budget, quota, history. Numbers only.

A decision records all of it, so that another policy can be asked about the same moment later.
Whatever is ``None`` is not known, and costs nothing in the weighing.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from router.strict import Fields, Malformed
from router.vocabulary import Destination

__all__ = ["Circumstances", "DeviceState", "Standing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """Of the hardware, as the app or the system tells it. Raises ``ValueError`` out of range."""

    battery: float | None = None
    """Charge, 0 to 1; ``None`` where there is no battery."""
    charging: bool | None = None
    """On mains power, also with a full battery."""
    heat: float | None = None
    """0: cool; 1: at the temperature where the hardware slows itself down."""
    online: bool | None = None
    """``False`` only where it is known that there is no network."""

    def __post_init__(self) -> None:
        for name in ("battery", "heat"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1")

    @property
    def scarcity(self) -> float:
        """How dear a joule is here, 0 (mains, cool) to 1 (empty, or too hot)."""
        drained = 0.0 if self.battery is None or self.charging is not False else 1 - self.battery
        return max(drained, self.heat or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What earlier requests on this device left behind."""

    weight: float | None = None
    """λ, as the daily budget moved it; ``None``: the policy's own."""
    money_left: float | None = None
    """Of the daily budget; ``None`` without one."""
    device_s: float | None = None
    cloud_s: float | None = None
    """Seconds a whole answer usually takes on each side."""
    drifted: bool = False
    """The signals are no longer like those the bound was calibrated on."""
    refuted: tuple[float, ...] = ()
    """Each α that graded requests speak against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """One moment, flat, as it is recorded. ``session_on``: where the turn before ran."""

    input_tokens: int
    max_output_tokens: int
    history_tokens: int = 0
    """Of ``input_tokens``: said before this turn; a side that did not answer it reads them anew."""
    session_on: Destination | None = None
    quota: int | None = None
    """Tokens in the wallet."""
    battery: float | None = None
    charging: bool | None = None
    heat: float | None = None
    online: bool | None = None
    weight: float | None = None
    money_left: float | None = None
    device_s: float | None = None
    cloud_s: float | None = None
    drifted: bool = False
    refuted: tuple[float, ...] = ()

    @property
    def scarcity(self) -> float:
        return DeviceState(battery=self.battery, charging=self.charging, heat=self.heat).scarcity

    def to_json_dict(self) -> dict[str, Any]:
        """Only what is known: most devices tell little."""
        values = asdict(self) | {
            "session_on": self.session_on.value if self.session_on else None,
            "refuted": list(self.refuted) or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def read(cls, given: Fields) -> "Circumstances":
        """Raises ``Malformed``."""
        values: dict[str, Any] = {}
        for each in fields(cls):
            if each.name == "session_on":
                values[each.name] = (
                    given.optional_word(each.name, Destination) if given.has(each.name) else None
                )
            elif given.has(each.name):
                values[each.name] = _READ[each.name](given, each.name)
        given.done()
        try:
            found = cls(**values)
            _ = found.scarcity
        except (TypeError, ValueError):
            raise Malformed(given.named("circumstances"), "are not as they should be") from None
        return found


_READ = {
    **dict.fromkeys(
        ("input_tokens", "max_output_tokens", "history_tokens", "quota"), Fields.integer
    ),
    **dict.fromkeys(("charging", "online", "drifted"), Fields.flag),
    "refuted": Fields.numbers,
    **dict.fromkeys(
        ("battery", "heat", "weight", "money_left", "device_s", "cloud_s"), Fields.number
    ),
}
