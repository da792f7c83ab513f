"""Stage 0: hard rules, each with a name. A rule only ever removes a destination.

Rules are judged in this order, and the first that removes a destination gives the reason:
mode, data_class, consent, cloud_configured, offline, cloud_reachable, cloud_verified, quota,
device_ready, device_can, device_context, cloud_can, cloud_context, and external where the app
asked for that. A rule whose fact cannot be
known yet (the quota of a cloud that is not configured) leaves the matter to the rule that removes
the destination for that very lack.
"""

from dataclasses import dataclass
from typing import Protocol

from router.decision import RuleVerdict
from router.facts import RequestFacts
from router.policy import Policy
from router.policy_parts import Raised
from router.rule_external import ExternalRule
from router.vocabulary import DataClass, Finding, Mode, Reason

__all__ = ["Rule", "rules_of"]


class Rule(Protocol):
    """One hard rule."""

    @property
    def name(self) -> str: ...

    def judge(self, facts: RequestFacts) -> RuleVerdict: ...


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """All rules, in the order their reasons are reported."""
    return (
        ModeRule(),
        DataClassRule(raised=policy.raised),
        ConsentRule(assumed_for=policy.consent_assumed_for, raised=policy.raised),
        CloudConfiguredRule(),
        OfflineRule(),
        CloudReachableRule(),
        CloudVerifiedRule(),
        QuotaRule(),
        DeviceReadyRule(),
        DeviceCanRule(),
        DeviceContextRule(),
        CloudCanRule(),
        CloudContextRule(),
        ExternalRule(raised=policy.raised),
    )


def _cloud(name: str, allowed: bool, reason: Reason) -> RuleVerdict:
    return RuleVerdict(
        name=name, allows_device=True, allows_cloud=allowed, reason=None if allowed else reason
    )


def _device(name: str, allowed: bool, reason: Reason) -> RuleVerdict:
    return RuleVerdict(
        name=name, allows_device=allowed, allows_cloud=True, reason=None if allowed else reason
    )


@dataclass(frozen=True, slots=True)
class ModeRule:
    """``only_*`` modes remove the other side; ``prefer_*`` and ``auto`` remove nothing."""

    name: str = "mode"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        if facts.mode is Mode.ONLY_IN_CLOUD:
            return _device(self.name, False, Reason.MODE_ONLY_IN_CLOUD)
        kept_home = facts.mode is Mode.ONLY_ON_DEVICE
        return _cloud(self.name, not kept_home, Reason.MODE_ONLY_ON_DEVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataClassRule:
    """Secret data never leaves the device, whether the app said so or a finding raised it."""

    raised: Raised
    name: str = "data_class"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        return self.verdict(facts.data_class, facts.found)

    def verdict(self, said: DataClass, found: tuple[Finding, ...]) -> RuleVerdict:
        """The same by the facts it reads, for records that keep no others."""
        raised = self.raised.raised(said, found)
        return _cloud(self.name, raised is not DataClass.SECRET, Reason.DATA_SECRET)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRule:
    """No consent, no cloud. Where nobody was asked, the policy may assume it for a data class."""

    assumed_for: frozenset[DataClass]
    raised: Raised
    name: str = "consent"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        return self.verdict(facts.data_class, facts.found, facts.consent)

    def verdict(
        self, said: DataClass, found: tuple[Finding, ...], consent: bool | None
    ) -> RuleVerdict:
        """The same by the facts it reads, for records that keep no others."""
        given = consent
        if given is None:
            given = self.raised.raised(said, found) in self.assumed_for
        return _cloud(self.name, given, Reason.NO_CONSENT)


@dataclass(frozen=True, slots=True)
class CloudConfiguredRule:
    name: str = "cloud_configured"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        return _cloud(self.name, facts.cloud.configured, Reason.CLOUD_NOT_CONFIGURED)


@dataclass(frozen=True, slots=True)
class OfflineRule:
    """The device is known to have no network: nothing is tried."""

    name: str = "offline"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.cloud.configured
        there = facts.device.state.online is not False
        return _cloud(self.name, not known or there, Reason.OFFLINE)


@dataclass(frozen=True, slots=True)
class CloudReachableRule:
    name: str = "cloud_reachable"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.cloud.configured
        return _cloud(self.name, not known or facts.cloud.reachable, Reason.CLOUD_UNREACHABLE)


@dataclass(frozen=True, slots=True)
class CloudVerifiedRule:
    """At least one node passed attestation, log and witnesses."""

    name: str = "cloud_verified"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.cloud.configured and facts.cloud.reachable
        verified = facts.cloud.verified_nodes > 0
        return _cloud(self.name, not known or verified, Reason.CLOUD_NOT_VERIFIED)


@dataclass(frozen=True, slots=True)
class QuotaRule:
    name: str = "quota"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.cloud.configured
        return _cloud(self.name, not known or facts.cloud.tokens_left, Reason.NO_QUOTA)


@dataclass(frozen=True, slots=True)
class DeviceReadyRule:
    name: str = "device_ready"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        return _device(self.name, facts.device.ready, Reason.DEVICE_NOT_READY)


@dataclass(frozen=True, slots=True)
class DeviceCanRule:
    """The device's runtime has what the request needs."""

    name: str = "device_can"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.device.ready
        able = facts.needs <= facts.device.can
        return _device(self.name, not known or able, Reason.DEVICE_CANNOT)


@dataclass(frozen=True, slots=True)
class CloudCanRule:
    """The same for the cluster."""

    name: str = "cloud_can"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.cloud.configured and facts.cloud.reachable
        able = facts.needs <= facts.cloud.can
        return _cloud(self.name, not known or able, Reason.CLOUD_CANNOT)


@dataclass(frozen=True, slots=True)
class DeviceContextRule:
    """Prompt and room for the answer fit the device model's context."""

    name: str = "device_context"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        known = facts.device.ready
        fits = facts.input_tokens + facts.max_output_tokens <= facts.device.context_tokens
        return _device(self.name, not known or fits, Reason.OVER_DEVICE_CONTEXT)


@dataclass(frozen=True, slots=True)
class CloudContextRule:
    """The same for the cloud model, counted in the device's tokens (the node counts its own)."""

    name: str = "cloud_context"

    def judge(self, facts: RequestFacts) -> RuleVerdict:
        cloud = facts.cloud
        known = cloud.configured and cloud.reachable and cloud.verified_nodes > 0
        fits = facts.input_tokens + facts.max_output_tokens <= cloud.context_tokens
        return _cloud(self.name, not known or fits, Reason.OVER_CLOUD_CONTEXT)
