"""What the rules leave, and what follows from it where the mode settles the rest."""

from dataclasses import dataclass

from lanai.errors import NoRoute
from router.decision import EXTERNAL_RULE, RuleVerdict
from router.facts import RequestFacts
from router.rules import Rule
from router.vocabulary import Destination, External, Mode, Reason
from router.words import HINTS

__all__ = ["Eligibility", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Every rule's verdict on one request, also of rules after the one that settled it."""

    mode: Mode
    verdicts: tuple[RuleVerdict, ...]
    external: External = External.NEVER

    def allows(self, destination: Destination) -> bool:
        if destination is Destination.EXTERNAL and not any(v.lets_outside for v in self.verdicts):
            return False
        return all(verdict.allows(destination) for verdict in self.verdicts)

    def why_not(self, destination: Destination) -> Reason | None:
        """The first rule's reason against it; ``None`` when it is left."""
        return next((v.reason for v in self.verdicts if not v.allows(destination)), None)

    def settle(self) -> tuple[Destination, Reason] | None:
        """Where the request must or would rather go. ``None``: both are left and the mode is auto.

        Raises ``NoRoute`` when neither is left.
        """
        outside = self.external is not External.NEVER and self.allows(Destination.EXTERNAL)
        if outside and self.external is External.FIRST:
            return Destination.EXTERNAL, Reason.EXTERNAL_ASKED
        no_device, no_cloud = self.why_not(Destination.DEVICE), self.why_not(Destination.CLOUD)
        if no_device and no_cloud and outside:
            return Destination.EXTERNAL, Reason.EXTERNAL_LAST
        if no_device and no_cloud:
            raise self._no_route(no_device, no_cloud)
        if no_cloud:
            # A device that was preferred anyway is no consequence of the missing cloud.
            preferred = self.mode is Mode.PREFER_ON_DEVICE
            return Destination.DEVICE, Reason.MODE_PREFER_ON_DEVICE if preferred else no_cloud
        if no_device:
            preferred = self.mode is Mode.PREFER_IN_CLOUD
            return Destination.CLOUD, Reason.MODE_PREFER_IN_CLOUD if preferred else no_device
        return self._preferred()

    def _preferred(self) -> tuple[Destination, Reason] | None:
        if self.mode is Mode.PREFER_ON_DEVICE:
            return Destination.DEVICE, Reason.MODE_PREFER_ON_DEVICE
        if self.mode is Mode.PREFER_IN_CLOUD:
            return Destination.CLOUD, Reason.MODE_PREFER_IN_CLOUD
        return None

    def _no_route(self, no_device: Reason, no_cloud: Reason) -> NoRoute:
        reason = no_device if self.mode is Mode.ONLY_ON_DEVICE else no_cloud
        return NoRoute(
            f"no route: the device is ruled out ({no_device}), and so is the cloud ({no_cloud})",
            reason=reason.value,
            hint=HINTS[reason],
        )


def judge(rules: tuple[Rule, ...], facts: RequestFacts) -> Eligibility:
    """Ask every rule."""
    verdicts = (rule.judge(facts) for rule in rules)
    spoken = tuple(each for each in verdicts if not _is_silent(each))
    return Eligibility(mode=facts.mode, verdicts=spoken, external=facts.external)


def _is_silent(verdict: RuleVerdict) -> bool:
    """Of the endpoint outside, where nobody asked for it."""
    return verdict.name == EXTERNAL_RULE and verdict.allows_external is None
