"""A production policy of three kinds: the node verifies by all of them, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation import AllOf, AnyOf, Evidence, EvidencePolicy, One, report_data
from trust.attestation.nvidia import NVIDIA
from trust.attestation.nvidia.payload import encode
from trust.attestation.nvidia.testing import UnsafeNvidiaAuthority, UnsafeNvidiaDevice
from trust.attestation.sev_snp import SEV_SNP, SevSnpPolicy, SnpPayload
from trust.attestation.sev_snp.testing import UnsafeSevSnpAuthority, UnsafeVek
from trust.attestation.tpm2 import TPM2, EventKind, NodeEvent
from trust.attestation.tpm2.testing import UnsafeAuthority, UnsafeTpm
from trust.bundle import NodeBundle
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import NodeVerifier

NOW = 1_790_000_000
HPKE_KEY = b"k" * 1216


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A confidential machine with a GPU and a TPM, whose makers are authorities of this test."""

    snp: UnsafeSevSnpAuthority
    chip: UnsafeVek
    nvidia: UnsafeNvidiaAuthority
    gpu: UnsafeNvidiaDevice
    tpm: UnsafeTpm

    @property
    def policies(self) -> dict[str, EvidencePolicy]:
        leaves = (
            SevSnpPolicy(lines=(self.snp.accepted(),), guest_may=("smt",)),
            self.nvidia.policy(),
            self.tpm.authority.policy,
        )
        return {leaf.kind: One(leaf) for leaf in leaves}

    def present(self, bound: bytes) -> dict[str, Evidence]:
        chip = SnpPayload(report=self.chip.report(bound), chain=self.chip.chain)
        return {
            NVIDIA: Evidence(kind=NVIDIA, payload=encode([self.gpu.evidence(bound)])),
            SEV_SNP: Evidence(kind=SEV_SNP, payload=chip.encode()),
            TPM2: self.tpm.attest(bound),
        }


@pytest.fixture(scope="module")
def machine() -> Machine:
    snp, nvidia = UnsafeSevSnpAuthority(now=NOW), UnsafeNvidiaAuthority(now=NOW)
    release = unsafe_release()
    events = [
        NodeEvent(kind, bytes.fromhex(digest))
        for kind, digest in (
            (EventKind.SOFTWARE, release.software),
            (EventKind.WEIGHTS, release.weights),
            (EventKind.CONFIGURATION, release.configuration),
        )
    ]
    return Machine(
        snp=snp,
        chip=UnsafeVek(snp),
        nvidia=nvidia,
        gpu=UnsafeNvidiaDevice(nvidia),
        tpm=UnsafeTpm(authority=UnsafeAuthority(now=NOW), events=events),
    )


@pytest.fixture(scope="module")
def golden(machine: Machine) -> Mapping[str, Mapping[str, str]]:
    """What an operator would publish after measuring this machine once."""
    bound = bytes(32)
    everything = AllOf(*machine.policies.values())
    judged = everything.judge(machine.present(bound), report_data=bound, now=NOW)
    names = {
        NVIDIA: "measurement_01",
        SEV_SNP: "measurement",
        TPM2: "pcr00",
    }
    return {one.kind: {names[one.kind]: one.measurements[names[one.kind]]} for one in judged}


def made(
    world: UnsafeTrustWorld, machine: Machine, golden: Mapping[str, Mapping[str, str]]
) -> NodeBundle:
    bundle = world.bundle(HPKE_KEY, release=replace(unsafe_release(), golden=golden))
    bound = report_data(HPKE_KEY, bundle.tls_spki_sha256, bundle.not_before, bundle.expires_at)
    presented = machine.present(bound)
    return replace(bundle, evidence=tuple(presented[kind] for kind in sorted(presented)))


def production(world: UnsafeTrustWorld, policy: EvidencePolicy) -> NodeVerifier:
    """Judges by a production root that went through its file form."""
    root = replace(world.root, profile="production", evidence=policy)
    root = TrustRoot.from_json(root.to_json())
    root.admit("production")
    return NodeVerifier(root, clock=lambda: float(world.now))


def refusal(verifier: NodeVerifier, bundle: NodeBundle) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        verifier.verify(bundle)
    return caught.value.reason


def test_all_three_kinds_under_a_production_root(
    machine: Machine, golden: Mapping[str, Mapping[str, str]]
) -> None:
    """The receipt names every kind that was judged."""
    world = UnsafeTrustWorld(now=NOW)
    node_bundle = made(world, machine, golden)
    node = production(world, AllOf(*machine.policies.values())).verify(node_bundle)
    assert node.evidence_kind == "nvidia+sev_snp+tpm2"
    assert NodeBundle.parse(node_bundle.serialize()) == node_bundle


@pytest.mark.parametrize("kind", [NVIDIA, SEV_SNP, TPM2])
def test_each_kind_is_needed(
    machine: Machine, golden: Mapping[str, Mapping[str, str]], kind: str
) -> None:
    """Without one kind, with one for other keys, or with another golden value: refused."""
    world = UnsafeTrustWorld(now=NOW)
    good = made(world, machine, golden)
    verifier = production(world, AllOf(*machine.policies.values()))
    others = tuple(item for item in good.evidence if item.kind != kind)
    assert refusal(verifier, replace(good, evidence=others)) is Rejection.EVIDENCE_MISSING
    foreign = {item.kind: item for item in others} | {kind: machine.present(bytes(32))[kind]}
    swapped = replace(good, evidence=tuple(foreign[name] for name in sorted(foreign)))
    assert refusal(verifier, swapped) is Rejection.KEY_BINDING
    ((name, _),) = golden[kind].items()
    other = made(world, machine, {**golden, kind: {name: "00" * 48}})
    assert refusal(verifier, other) is Rejection.MEASUREMENT


def test_a_choice_takes_the_first_that_stands(
    machine: Machine, golden: Mapping[str, Mapping[str, str]]
) -> None:
    """Either a confidential machine or a TPM; a refused first choice does not spoil the second."""
    world = UnsafeTrustWorld(now=NOW)
    good = made(world, machine, golden)
    policy = AnyOf(
        AllOf(machine.policies[SEV_SNP], machine.policies[NVIDIA]), machine.policies[TPM2]
    )
    assert production(world, policy).verify(good).evidence_kind == "nvidia+sev_snp"
    tpm_only = tuple(item for item in good.evidence if item.kind == TPM2)
    node = production(world, policy).verify(replace(good, evidence=tpm_only))
    assert node.evidence_kind == "tpm2"
    wrong = machine.present(bytes(32)) | {TPM2: tpm_only[0]}
    mixed = replace(good, evidence=tuple(wrong[kind] for kind in sorted(wrong)))
    assert production(world, policy).verify(mixed).evidence_kind == "tpm2"
    none = replace(good, evidence=(machine.present(bytes(32))[TPM2],))
    assert refusal(production(world, policy), none) is Rejection.KEY_BINDING
