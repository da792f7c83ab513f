"""The hard rule before the endpoint outside. It removes neither device nor cloud.

A decision for outside cannot be built without this rule's leave (``router.decision``). It gives it
only where the app asked for this request, said in no mode that it must stay on one side, nobody
refused consent, an endpoint is configured, the request needs plain text alone, and its data are
public: as the app said, and after all that a detector found. No policy lowers a data class.
"""

from dataclasses import dataclass
from typing import Final

from router.decision import EXTERNAL_RULE, RuleVerdict
from router.facts import RequestFacts
from router.policy_parts import Raised
from router.vocabulary import DataClass, External, Mode, Reason

__all__ = ["ExternalRule"]

_KEPT: Final = {
    Mode.ONLY_ON_DEVICE: Reason.MODE_ONLY_ON_DEVICE,
    Mode.ONLY_IN_CLOUD: Reason.MODE_ONLY_IN_CLOUD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalRule:
    """Says nothing of requests that did not ask."""

    raised: Raised
    name: str = EXTERNAL_RULE

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        asked = facts.external is not External.NEVER
        why_not = self._why_not(facts) if asked else None
        return RuleVerdict(
            name=self.name,
            allows_device=True,
            allows_cloud=True,
            allows_external=why_not is None if asked else None,
            reason=why_not,
        )

    def _why_not(self, facts: RequestFacts) -> Reason | None:
        if (kept := _KEPT.get(facts.mode)) is not None:
            return kept
        if self.raised.raised(facts.data_class, facts.found) is not DataClass.PUBLIC:
            return Reason.EXTERNAL_NOT_PUBLIC
        if facts.consent is False:
            return Reason.NO_CONSENT
        if not facts.external_configured:
            return Reason.EXTERNAL_NOT_CONFIGURED
        if facts.device.state.online is False:
            return Reason.OFFLINE
        return Reason.EXTERNAL_CANNOT if facts.needs else None
