"""The weighing: what an escalation is worth, less λ times what it costs.

All terms are in right answers per request, the unit of the benefit. Costs are those of the cloud
less those of the device, so that a term may speak for the cloud: a hot device on its last charge
saves by not answering. They move a threshold, never a rule: rules are judged before, and a
destination they removed is not weighed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from router.circumstances import Circumstances
from router.policy_parts import Costs
from router.strict import Fields
from router.vocabulary import Destination

__all__ = ["Terms", "terms_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``threshold = P(cloud good) − asked − weight · (money + latency + energy + quota)``."""

    benefit: float
    """P(cloud good) − P(device good), which is held against the price."""
    asked: float
    """The policy's ``escalate_above_benefit``."""
    weight: float
    money: float
    latency: float
    """Of seconds over the target, re-reading the history included."""
    energy: float
    quota: float

    @property
    def price(self) -> float:
        """Benefit above which the cloud is worth it."""
        return self.asked + self.weight * (self.money + self.latency + self.energy + self.quota)

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self) | {"price": self.price}

    @classmethod
    def read(cls, fields: Fields) -> "Terms":
        """Raises ``Malformed``."""
        terms = cls(
            benefit=fields.number("benefit"),
            asked=fields.number("asked"),
            weight=fields.number("weight"),
            money=fields.number("money"),
            latency=fields.number("latency"),
            energy=fields.number("energy"),
            quota=fields.number("quota"),
        )
        fields.number("price")
        fields.done()
        return terms


def terms_of(costs: Costs, asked: float, benefit: float, seen: Circumstances) -> Terms:
    """What the policy makes of the moment."""
    return Terms(
        benefit=benefit,
        asked=asked,
        weight=costs.weight if seen.weight is None else seen.weight,
        money=costs.money_of(seen.input_tokens, seen.max_output_tokens),
        latency=costs.per_second_late * _late(costs, seen),
        energy=costs.per_joule * seen.scarcity * _joules(costs, seen),
        quota=0.0 if seen.quota is None else costs.last_token / max(seen.quota, 1),
    )


def _late(costs: Costs, seen: Circumstances) -> float:
    """Seconds over the target in the cloud, less those on the device."""
    cloud = (seen.cloud_s or 0.0) + _rereading(costs, seen, Destination.CLOUD)
    device = (seen.device_s or 0.0) + _rereading(costs, seen, Destination.DEVICE)
    target = costs.latency_target_s
    return max(cloud - target, 0.0) - max(device - target, 0.0)


def _rereading(costs: Costs, seen: Circumstances, side: Destination) -> float:
    """Seconds for a history that the other side answered; none in the first turn, or by staying."""
    if seen.session_on in (None, side):
        return 0.0
    in_cloud = side is Destination.CLOUD
    rate = costs.reread_s_per_1000_tokens if in_cloud else costs.device_reread_s_per_1000_tokens
    return seen.history_tokens / 1000 * rate


def _joules(costs: Costs, seen: Circumstances) -> float:
    """This device's own: the radio's in the cloud, less the model's here."""
    tokens = seen.input_tokens + seen.max_output_tokens
    return costs.joules_per_escalation - costs.device_joules_per_token * tokens
