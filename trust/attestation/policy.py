"""Which evidence is enough: policy objects, written as JSON in the signed trust root.

A leaf names one kind of evidence and that kind's parameters; ``all_of`` and ``any_of`` combine.

    {"all_of": [{"kind": "sev_snp", ...}, {"any_of": [{"kind": "tpm2", ...}, ...]}]}

A policy that names a kind or a parameter this version does not know is refused as a whole: half a
policy would accept more than its author meant.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Claims, Evidence, Verifier
from trust.attestation.nvidia import NvidiaPolicy
from trust.attestation.sev_snp import SevSnpPolicy
from trust.attestation.tdx import TdxPolicy
from trust.attestation.tpm2 import Tpm2Policy, UnsafeSwtpmPolicy
from trust.attestation.unsafe_software import UnsafeSoftwarePolicy
from trust.strict import malformed

__all__ = ["LEAVES", "AllOf", "AnyOf", "EvidencePolicy", "LeafPolicy", "One", "policy_from_json"]

MAX_DEPTH: Final = 4
MAX_BRANCHES: Final = 8


class LeafPolicy(Protocol):
    """The parameters of one kind of evidence, as the trust root gives them."""

    kind: ClassVar[str]
    unsafe: ClassVar[bool]
    """Proves nothing about a machine: refused outside development."""

    def verifier(self) -> Verifier:
        """The verifier these parameters make."""

    def to_json(self) -> dict[str, object]:
        """The parameters, without ``kind``."""

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """From exactly the keys of `to_json`. Raises ``TrustError`` (``malformed``)."""


class EvidencePolicy(Protocol):
    """What evidence a node has to present."""

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind named anywhere in it."""

    @property
    def unsafe(self) -> bool:
        """Whether unsafe evidence alone could satisfy it, or is part of what satisfies it."""

    def judge(
        self, presented: Mapping[str, Evidence], *, report_data: bytes, now: float
    ) -> tuple[Claims, ...]:
        """Claims of the evidence that satisfies the policy; other evidence is not looked at.

        ``presented`` is by kind, ``report_data`` 32 bytes, ``now`` unix seconds. Raises
        ``EvidenceRejected``: ``evidence_missing``, or what a kind's verifier says.
        """

    def to_json(self) -> dict[str, object]:
        """The form `policy_from_json` reads."""


LEAVES: Final[dict[str, type[LeafPolicy]]] = {
    leaf.kind: leaf
    for leaf in (
        NvidiaPolicy,
        SevSnpPolicy,
        TdxPolicy,
        Tpm2Policy,
        UnsafeSoftwarePolicy,
        UnsafeSwtpmPolicy,
    )
}
"""Every kind this version can judge."""


@dataclass(frozen=True, slots=True)
class One:
    """One piece of evidence of the leaf's kind."""

    leaf: LeafPolicy

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({self.leaf.kind})

    @property
    def unsafe(self) -> bool:
        return self.leaf.unsafe

    def judge(
        self, presented: Mapping[str, Evidence], *, report_data: bytes, now: float
    ) -> tuple[Claims, ...]:
        evidence = presented.get(self.leaf.kind)
        if evidence is None:
            raise _missing(self.leaf.kind)
        claims = self.leaf.verifier().verify(evidence, report_data=report_data, now=now)
        if claims.kind != self.leaf.kind:
            raise EvidenceRejected(
                "the claims are of another kind", reason=Rejection.KIND_NOT_ACCEPTED
            )
        return (claims,)

    def to_json(self) -> dict[str, object]:
        return {"kind": self.leaf.kind, **self.leaf.to_json()}


class _Several:
    """Policies joined by a word. At least one, no more than `MAX_BRANCHES`."""

    __slots__ = ("policies",)
    word: ClassVar[str]

    def __init__(self, *policies: EvidencePolicy) -> None:
        if not 0 < len(policies) <= MAX_BRANCHES:
            raise malformed(f"{self.word} joins one to {MAX_BRANCHES} policies")
        self.policies = policies

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset[str]().union(*(policy.kinds for policy in self.policies))

    @property
    def unsafe(self) -> bool:
        # In all_of, too: a production root has no reason to name what proves nothing.
        return any(policy.unsafe for policy in self.policies)

    def to_json(self) -> dict[str, object]:
        return {self.word: [policy.to_json() for policy in self.policies]}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.policies == getattr(other, "policies", None)

    def __hash__(self) -> int:
        return hash((self.word, self.policies))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.policies!r}"


class AllOf(_Several):
    """Every one of the policies."""

    __slots__ = ()
    word = "all_of"

    def judge(
        self, presented: Mapping[str, Evidence], *, report_data: bytes, now: float
    ) -> tuple[Claims, ...]:
        return tuple(
            claims
            for policy in self.policies
            for claims in policy.judge(presented, report_data=report_data, now=now)
        )


class AnyOf(_Several):
    """The first of the policies that is satisfied."""

    __slots__ = ()
    word = "any_of"

    def judge(
        self, presented: Mapping[str, Evidence], *, report_data: bytes, now: float
    ) -> tuple[Claims, ...]:
        refusals = []
        for policy in self.policies:
            try:
                return policy.judge(presented, report_data=report_data, now=now)
            except EvidenceRejected as refusal:
                refusals.append(refusal)
        # Evidence that was looked at and refused says more than evidence that is not there.
        raise next((one for one in refusals if not _is_missing(one)), refusals[0])


def policy_from_json(value: object, *, depth: int = 0) -> EvidencePolicy:
    """The policy of a JSON value. Raises ``TrustError`` (``malformed``)."""
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        raise malformed("an evidence policy is an object, nested a few times at most")
    if "kind" in value:
        return One(_leaf(value))
    several: dict[str, Callable[..., EvidencePolicy]] = {"all_of": AllOf, "any_of": AnyOf}
    if len(value) != 1 or (word := next(iter(value))) not in several:
        raise malformed("an evidence policy has a kind, all_of or any_of")
    return several[word](*_branches(value[word], depth + 1))


def _branches(value: object, depth: int) -> Iterable[EvidencePolicy]:
    if not isinstance(value, list) or len(value) > MAX_BRANCHES:
        raise malformed("all_of and any_of join a short list of policies")
    return [policy_from_json(item, depth=depth) for item in value]


def _leaf(value: dict[str, object]) -> LeafPolicy:
    leaf = LEAVES.get(str(value["kind"]))
    if leaf is None:
        raise malformed("an evidence policy names a kind this version does not know")
    return leaf.from_json({name: item for name, item in value.items() if name != "kind"})


def _missing(kind: str) -> EvidenceRejected:
    return EvidenceRejected(
        f"the trust root asks for {kind} evidence, and there is none",
        reason=Rejection.EVIDENCE_MISSING,
    )


def _is_missing(refusal: EvidenceRejected) -> bool:
    return refusal.reason is Rejection.EVIDENCE_MISSING
