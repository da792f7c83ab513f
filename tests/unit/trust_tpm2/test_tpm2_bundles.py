"""TPM evidence in whole bundles: the release record decides which machine is a good one."""

from dataclasses import replace

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation import One, Release, report_data
from trust.attestation.tpm2 import NodeEvent
from trust.attestation.tpm2.testing import UnsafeAuthority, UnsafeTpm
from trust.bundle import NodeBundle
from trust.envelope import NodeKey
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import NodeVerifier, VerifiedNode

NOW = 1_800_000_000
AUTHORITY = UnsafeAuthority(now=NOW)
GOLDEN = {"pcr04": "04" * 32, "firmware": "00" * 8}


def bundle(world: UnsafeTrustWorld, release: Release, ran: Release) -> NodeBundle:
    """A node that names ``release`` and whose TPM's log names ``ran``."""
    made = world.bundle(NodeKey.generate().public_key, release=release)
    bound = report_data(
        made.hpke_public_key, made.tls_spki_sha256, made.not_before, made.expires_at
    )
    events = NodeEvent.release(
        software=ran.software, weights=ran.weights, configuration=ran.configuration
    )
    tpm = UnsafeTpm(authority=AUTHORITY, events=events, pcrs={4: bytes([4]) * 32})
    return replace(made, evidence=(tpm.attest(bound),))


def verified(release: Release, ran: Release | None = None) -> VerifiedNode:
    world = UnsafeTrustWorld(now=NOW)
    root = replace(world.root, evidence=One(AUTHORITY.policy))
    verifier = NodeVerifier(root, clock=lambda: float(NOW))
    return verifier.verify(bundle(world, release, ran or release))


def test_a_machine_with_the_golden_values_is_verified() -> None:
    """Boot PCRs, firmware and release are what the logged record says."""
    assert verified(replace(unsafe_release(), golden={"tpm2": GOLDEN})).evidence_kind == "tpm2"


@pytest.mark.parametrize(
    ("golden", "ran"),
    [
        ({}, unsafe_release()),
        ({"sev_snp": GOLDEN}, unsafe_release()),
        ({"tpm2": GOLDEN | {"pcr04": "05" * 32}}, unsafe_release()),
        ({"tpm2": GOLDEN | {"secure_boot": "on"}}, unsafe_release()),
        ({"tpm2": GOLDEN}, replace(unsafe_release(), software="44" * 32)),
    ],
    ids=["none", "of another kind", "another boot", "not claimed", "other software"],
)
def test_any_other_machine_is_refused(golden: dict[str, dict[str, str]], ran: Release) -> None:
    """A node's own word for its release counts for nothing without golden values of its boot."""
    with pytest.raises(EvidenceRejected) as caught:
        verified(replace(unsafe_release(), golden=golden), ran)
    assert caught.value.reason is Rejection.MEASUREMENT
