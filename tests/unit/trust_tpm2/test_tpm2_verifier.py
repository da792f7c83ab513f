"""Every lie about a TPM is refused, for its own reason."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from lanai.errors import EvidenceRejected, Rejection, TrustError, TrustRootRejected
from trust.attestation import AllOf, One, policy_from_json
from trust.attestation.evidence import Evidence
from trust.attestation.tpm2 import (
    NODE_PCR,
    QUOTED_PCRS,
    BootLog,
    EventKind,
    NodeEvent,
    Tpm2Payload,
    Tpm2Policy,
    Tpm2Verifier,
    UnsafeSwtpmPolicy,
)
from trust.attestation.tpm2.chain import AK_PURPOSE, EK_PURPOSE, UNSAFE_SWTPM_PURPOSE, Link
from trust.attestation.tpm2.node_log import replay
from trust.attestation.tpm2.testing import UnsafeAuthority, UnsafeTpm, quote_bytes
from trust.testing import UnsafeTrustWorld

NOW = 1_800_000_000
DAY = 86_400
KEYS = bytes(range(32))
RELEASE = NodeEvent.release(software="11" * 32, weights="22" * 32, configuration="33" * 32)
AUTHORITY = UnsafeAuthority(now=NOW)
SWTPM_AUTHORITY = UnsafeAuthority(now=NOW, swtpm=True)
TPM = UnsafeTpm(authority=AUTHORITY, events=RELEASE, pcrs={4: bytes([4]) * 32})
GOOD = TPM.payload(KEYS)


def reason(
    payload: Tpm2Payload | bytes,
    *,
    kind: str = "tpm2",
    authority: UnsafeAuthority = AUTHORITY,
    report_data: bytes = KEYS,
    now: float = NOW,
) -> Rejection | None:
    """Why it is refused; None when it is not."""
    data = payload if isinstance(payload, bytes) else payload.serialize()
    evidence = Evidence(kind=kind, payload=data)
    try:
        authority.policy.verifier().verify(evidence, report_data=report_data, now=now)
    except EvidenceRejected as refusal:
        return refusal.reason
    return None


def requoted(payload: Tpm2Payload, quote: bytes) -> Tpm2Payload:
    return TPM.sign(payload, quote)


def with_events(*events: NodeEvent) -> Tpm2Payload:
    """Evidence whose log says something else, quoted as it is."""
    pcrs = dict(GOOD.pcrs) | {NODE_PCR: replay(events)}
    payload = replace(GOOD, events=events, pcrs=pcrs)
    return requoted(payload, quote_bytes(KEYS, pcrs))


def keys(byte: int) -> NodeEvent:
    return NodeEvent(EventKind.KEYS, bytes([byte]) * 32)


MINE = NodeEvent(EventKind.KEYS, KEYS)
OTHER_KEY = UnsafeTpm(authority=AUTHORITY, events=RELEASE)


def certified(*purposes: x509.ObjectIdentifier) -> Tpm2Payload:
    chain = (AUTHORITY.certify(TPM.key.public_key(), purposes=purposes),)
    return replace(GOOD, chain=chain)


def test_claims_are_release_boot_and_firmware() -> None:
    """Digests of the log, values of every quoted PCR but the node's, firmware version."""
    claims = AUTHORITY.policy.verifier().verify(TPM.attest(KEYS), report_data=KEYS, now=NOW)
    expected = {"software": "11" * 32, "weights": "22" * 32, "configuration": "33" * 32}
    expected |= {f"pcr{i:02}": "00" * 32 for i in QUOTED_PCRS if i != NODE_PCR}
    expected |= {"pcr04": "04" * 32, "firmware": "00" * 8}
    assert claims.kind == "tpm2"
    assert claims.measurements == expected


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (lambda: requoted(GOOD, quote_bytes(bytes(32), GOOD.pcrs)), Rejection.KEY_BINDING),
        (
            lambda: requoted(GOOD, quote_bytes(KEYS, GOOD.pcrs, selected=QUOTED_PCRS[:-1])),
            Rejection.MEASUREMENT,
        ),
        (
            lambda: replace(GOOD, pcrs=dict(GOOD.pcrs) | {4: bytes(32)}),
            Rejection.MEASUREMENT,
        ),
        (
            lambda: requoted(GOOD, quote_bytes(KEYS, GOOD.pcrs, head=b"\xff\x54\x43\x47\x80\x17")),
            Rejection.MALFORMED,
        ),
        (
            lambda: requoted(GOOD, quote_bytes(KEYS, GOOD.pcrs, head=b"\x00\x54\x43\x47\x80\x18")),
            Rejection.MALFORMED,
        ),
        (lambda: replace(GOOD, signature=OTHER_KEY.payload(KEYS).signature), Rejection.SIGNATURE),
        (lambda: replace(GOOD, chain=OTHER_KEY.payload(KEYS).chain), Rejection.SIGNATURE),
        (lambda: certified(EK_PURPOSE), Rejection.CHAIN),
        (lambda: certified(AK_PURPOSE, UNSAFE_SWTPM_PURPOSE), Rejection.KIND_NOT_ACCEPTED),
        (lambda: replace(GOOD, chain=GOOD.chain * 2), Rejection.CHAIN),
        (lambda: b"\x02" + GOOD.serialize()[1:], Rejection.VERSION),
        (lambda: GOOD.serialize() + b"\x00", Rejection.MALFORMED),
        (lambda: GOOD.serialize()[:-1], Rejection.MALFORMED),
    ],
    ids=[
        "wrong nonce",
        "another PCR set",
        "other PCR values",
        "not a quote",
        "not from a TPM",
        "signed by another key",
        "swapped certificate",
        "certificate of another purpose",
        "certificate of a software TPM",
        "a certificate too many",
        "version",
        "longer",
        "shorter",
    ],
)
def test_a_lie_is_refused(lie: Callable[[], Tpm2Payload | bytes], expected: Rejection) -> None:
    """Each damaged piece of otherwise good evidence has its own reason."""
    assert reason(GOOD) is None
    assert reason(lie()) is expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((*RELEASE, keys(1), keys(2), MINE), None),
        ((*RELEASE, MINE, keys(2)), Rejection.ROLLBACK),
        ((*RELEASE,), Rejection.EVENT_LOG),
        ((MINE,), Rejection.EVENT_LOG),
        ((), Rejection.EVENT_LOG),
        ((RELEASE[1], RELEASE[0], RELEASE[2], MINE), Rejection.EVENT_LOG),
        ((*RELEASE, *RELEASE, MINE), Rejection.EVENT_LOG),
        ((*RELEASE, keys(1), RELEASE[0], MINE), Rejection.EVENT_LOG),
    ],
    ids=["rotated", "rolled back", "no keys", "no release", "empty", "order", "twice", "again"],
)
def test_the_log_is_exactly_release_and_keys(
    events: tuple[NodeEvent, ...], expected: Rejection | None
) -> None:
    """A log that leads to its PCR is still refused when it tells another story."""
    assert reason(with_events(*events)) is expected


def test_a_tampered_log_does_not_lead_to_its_pcr() -> None:
    """An event changed, left out or added after the quote."""
    changed = (replace_digest(RELEASE[0]), *RELEASE[1:], MINE)
    for events in (changed, (*RELEASE[:2], MINE), (*RELEASE, keys(1), MINE)):
        assert reason(replace(GOOD, events=events)) is Rejection.EVENT_LOG


def replace_digest(event: NodeEvent) -> NodeEvent:
    return NodeEvent(event.kind, bytes([event.digest[0] ^ 1]) + event.digest[1:])


def test_a_certificate_is_judged_now() -> None:
    """Expired, not valid yet, and of another authority."""
    assert reason(GOOD, now=NOW + DAY) is Rejection.EXPIRED
    assert reason(GOOD, now=NOW - 2 * DAY) is Rejection.NOT_YET_VALID
    assert reason(GOOD, authority=UnsafeAuthority(now=NOW)) is Rejection.UNKNOWN_KEY


def test_an_authoritys_own_key_signs_no_quotes() -> None:
    """Neither the root in place of a key, nor a key that issues a key."""
    root = AUTHORITY.root.public_bytes(Encoding.DER)
    assert reason(replace(GOOD, chain=(root,))) is Rejection.CHAIN
    leaf = UnsafeAuthority(now=NOW, key=TPM.key)
    stolen = leaf.certify(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert reason(replace(GOOD, chain=(stolen, *GOOD.chain))) is not None


def test_a_boot_log_leads_to_the_quoted_pcrs() -> None:
    """With its claim of Secure Boot; one event more, and it is refused."""
    log = BootLog(locality=0, events=((0, os.urandom(32)), (7, os.urandom(32))))
    tpm = UnsafeTpm(authority=AUTHORITY, events=RELEASE, pcrs=log.replay(), boot_log=log)
    assert reason(tpm.payload(KEYS)) is None
    longer = replace(log, events=(*log.events, (7, bytes(32))))
    assert reason(replace(tpm.payload(KEYS), boot_log=longer)) is Rejection.EVENT_LOG
    lying = replace(log, secure_boot_variable=b"SecureBoot is on, believe me")
    assert reason(replace(tpm.payload(KEYS), boot_log=lying)) is Rejection.EVENT_LOG


def test_a_software_tpm_is_a_kind_of_its_own() -> None:
    """Its evidence passes as `unsafe_swtpm` alone, and claims nothing of a boot."""
    tpm = UnsafeTpm(authority=SWTPM_AUTHORITY, events=RELEASE)
    evidence = tpm.attest(KEYS)
    claims = SWTPM_AUTHORITY.policy.verifier().verify(evidence, report_data=KEYS, now=NOW)
    assert set(claims.measurements) == {"software", "weights", "configuration"}
    assert reason(evidence.payload) is Rejection.UNKNOWN_KEY
    assert reason(evidence.payload, kind="unsafe_swtpm") is Rejection.KIND_NOT_ACCEPTED


def test_no_policy_for_hardware_can_name_a_root_of_software_tpms() -> None:
    """Nor the other way round: the mark is in the root's own certificate."""
    software, hardware = SWTPM_AUTHORITY.policy.roots, AUTHORITY.policy.roots
    for make in (lambda: Tpm2Policy(software), lambda: UnsafeSwtpmPolicy(hardware)):
        with pytest.raises(TrustError) as caught:
            make()
        assert caught.value.reason is Rejection.MALFORMED


def test_a_certificate_by_such_a_root_is_refused_even_unmarked() -> None:
    """A marked authority cannot launder a software TPM's key by leaving the mark out."""
    tpm = UnsafeTpm(authority=SWTPM_AUTHORITY, events=RELEASE)
    chain = (SWTPM_AUTHORITY.certify(tpm.key.public_key(), purposes=[AK_PURPOSE]),)
    payload = replace(tpm.payload(KEYS), chain=chain).serialize()
    assert reason(payload, kind="unsafe_swtpm", authority=SWTPM_AUTHORITY) is (
        Rejection.KIND_NOT_ACCEPTED
    )
    root = Link.parse(SWTPM_AUTHORITY.root.public_bytes(Encoding.DER))
    hardware = Tpm2Verifier("tpm2", [root], unsafe_swtpm=False)
    with pytest.raises(EvidenceRejected) as caught:
        hardware.verify(Evidence(kind="tpm2", payload=payload), report_data=KEYS, now=NOW)
    assert caught.value.reason is Rejection.KIND_NOT_ACCEPTED


def test_production_refuses_a_root_that_accepts_software_tpms() -> None:
    """Alone, or beside anything else."""
    world = UnsafeTrustWorld(now=NOW)
    policies = (
        One(SWTPM_AUTHORITY.policy),
        AllOf(One(AUTHORITY.policy), One(SWTPM_AUTHORITY.policy)),
    )
    for policy in policies:
        root = replace(world.root, profile="production", evidence=policy)
        with pytest.raises(TrustRootRejected) as caught:
            root.admit(None)
        assert caught.value.reason is Rejection.KIND_NOT_ACCEPTED
    replace(world.root, profile="production", evidence=One(AUTHORITY.policy)).admit(None)


@pytest.mark.parametrize("policy", [AUTHORITY.policy, SWTPM_AUTHORITY.policy])
def test_policies_survive_their_json_form(policy: Tpm2Policy | UnsafeSwtpmPolicy) -> None:
    """What the trust root writes, it reads; an unknown key is refused."""
    value = One(policy).to_json()
    assert policy_from_json(value) == One(policy)
    for broken in (value | {"more": 1}, value | {"roots": []}, value | {"roots": ["x"]}):
        with pytest.raises(TrustError):
            policy_from_json(broken)
