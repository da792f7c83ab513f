"""What TDX evidence is accepted, and why other evidence is refused."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation import AnyOf, One, report_data
from trust.attestation.evidence import Evidence
from trust.attestation.tdx import TDX
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.payload import encode
from trust.attestation.tdx.testing import UnsafeTdxAuthority
from trust.testing import UnsafeTrustWorld, unsafe_release
from trust.verification import NodeVerifier

NOW = 1_800_000_000
DAY = 86400
REPORT_DATA = bytes(range(32))
SEPT_VE_DISABLE = 1 << 28


@pytest.mark.parametrize("version", [4, 5])
def test_a_guest_is_accepted_with_what_was_measured(factory, version: int) -> None:
    """Quotes of TD 1.0 (version 4) and TD 1.5 (version 5) give the same claims."""
    claims = factory.verify(quote=factory.authority.quote(REPORT_DATA, version=version))
    assert claims.kind == "tdx"
    names = ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
    for value, name in enumerate(names, start=1):
        assert claims.measurements[name] == bytes((value,)).hex() * 48
    assert claims.measurements["attributes"] == "0000001000000000"
    assert claims.measurements["tcb_status"] == "UpToDate"


def test_another_kind_is_not_read(factory) -> None:
    """The verifier is for its own kind."""
    assert factory.refusal(kind="nvidia") is Rejection.KIND_NOT_ACCEPTED


@pytest.mark.parametrize(
    "data", [bytes(32), REPORT_DATA[:31], REPORT_DATA + b"\1", REPORT_DATA + bytes(31) + b"\1"]
)
def test_a_quote_for_other_keys_is_refused(factory, data: bytes) -> None:
    """All 64 bytes of report data count: 32 of the keys, then zeros."""
    assert factory.refusal(quote=factory.authority.quote(data)) is Rejection.KEY_BINDING


@pytest.mark.parametrize("bit", range(8))
def test_a_guest_that_may_be_debugged_is_refused(factory, bit: int) -> None:
    """The debug bit, and every bit reserved beside it, under any policy."""
    quote = factory.authority.quote(REPORT_DATA, attributes=SEPT_VE_DISABLE | 1 << bit)
    assert factory.refusal(quote=quote) is Rejection.DEBUG


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param(0, id="faults may be injected"),
        pytest.param(SEPT_VE_DISABLE | 1 << 29, id="migratable"),
        pytest.param(SEPT_VE_DISABLE | 1 << 63, id="performance counters"),
        pytest.param(SEPT_VE_DISABLE | 1 << 8, id="reserved"),
    ],
)
def test_a_guest_with_other_attributes_is_refused(factory, attributes: int) -> None:
    """Whatever lets the host in by another way, or is not known."""
    quote = factory.authority.quote(REPORT_DATA, attributes=attributes)
    assert factory.refusal(quote=quote) is Rejection.GUEST_POLICY


def test_a_guest_with_a_service_td_is_refused(factory) -> None:
    """A service TD could move the guest, and no measurement of it is compared."""
    quote = factory.authority.quote(REPORT_DATA, version=5, service_td=b"\1" * 48)
    assert factory.refusal(quote=quote) is Rejection.GUEST_POLICY


def test_the_status_of_the_platform_is_a_policy(factory) -> None:
    """An old platform is refused unless the policy names its status and every advisory."""
    collateral = factory.authority.collateral(status="OutOfDate", advisories=["INTEL-SA-01036"])
    policy = replace(factory.policy, statuses=("UpToDate", "OutOfDate"))
    assert factory.refusal(collateral=collateral) is Rejection.TCB
    assert factory.refusal(collateral=collateral, policy=policy) is Rejection.TCB
    named = replace(policy, advisories=("INTEL-SA-01036",))
    claims = factory.verify(collateral=collateral, policy=named)
    assert claims.measurements["tcb_status"] == "OutOfDate"


def test_a_platform_below_every_level_is_refused(factory) -> None:
    """Intel has no status for it, so no policy can accept it."""
    assert factory.refusal(collateral=factory.authority.collateral(least_svn=6)) is Rejection.TCB


def test_a_revoked_level_is_refused(factory) -> None:
    """Also by a policy that was made in code and names it."""
    collateral = factory.authority.collateral(status="Revoked")
    policy = replace(factory.policy, statuses=("UpToDate", "Revoked"))
    assert factory.refusal(collateral=collateral, policy=policy) is Rejection.REVOKED


def test_collateral_of_an_older_evaluation_is_refused(factory) -> None:
    """Statements from before a disclosure stay valid for weeks, and do not count."""
    policy = replace(factory.policy, minimum_evaluation=18)
    assert factory.refusal(policy=policy) is Rejection.TCB
    assert factory.verify(collateral=factory.authority.collateral(evaluation=18), policy=policy)


def test_stale_collateral_is_refused(factory) -> None:
    """After its next update, and before its issue."""
    for issued, reason in (
        (NOW - 31 * DAY, Rejection.EXPIRED),
        (NOW + 60, Rejection.NOT_YET_VALID),
    ):
        assert factory.refusal(collateral=factory.authority.collateral(issued=issued)) is reason


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity", "root_ca_crl", "pck_crl"])
def test_each_part_of_the_collateral_has_its_own_age(factory, name: str) -> None:
    """One stale part among fresh ones is enough."""
    fresh = json.loads(factory.authority.collateral())
    stale = json.loads(factory.authority.collateral(issued=NOW - 31 * DAY))
    mixed = fresh | {part: stale[part] for part in fresh if part in (name, f"{name}_signature")}
    assert factory.refusal(collateral=json.dumps(mixed).encode()) is Rejection.EXPIRED


def test_certificates_hold_for_a_time() -> None:
    """The platform's certificate may end before the collateral does."""
    authority = UnsafeTdxAuthority(now=NOW, pck_days=1)
    verifier = authority.policy().verifier()
    payload = encode(authority.quote(REPORT_DATA), Collateral.from_file(authority.collateral()))
    evidence = Evidence(kind=TDX, payload=payload)
    assert verifier.verify(evidence, report_data=REPORT_DATA, now=NOW)
    for now, reason in (
        (NOW + 2 * DAY, Rejection.EXPIRED),
        (NOW - DAY - 1, Rejection.NOT_YET_VALID),
    ):
        with pytest.raises(EvidenceRejected) as caught:
            verifier.verify(evidence, report_data=REPORT_DATA, now=now)
        assert caught.value.reason is reason


@pytest.mark.parametrize("revoked", ["platform", "authority"])
def test_a_revoked_certificate_is_refused(factory, revoked: str) -> None:
    """By the platforms' authority, or the authority itself by the root."""
    collateral = factory.authority.collateral(revoked=[revoked])
    assert factory.refusal(collateral=collateral) is Rejection.REVOKED


def test_an_unknown_root_is_refused(factory) -> None:
    """A whole sound platform of another authority is worth nothing."""
    stranger = UnsafeTdxAuthority(now=NOW)
    changed = {"quote": stranger.quote(REPORT_DATA), "collateral": stranger.collateral()}
    assert factory.refusal(**changed) is Rejection.UNKNOWN_KEY


def test_parts_of_two_authorities_are_refused(factory) -> None:
    """Also when the policy accepts both roots."""
    stranger = UnsafeTdxAuthority(now=NOW)
    policy = replace(factory.policy, roots=factory.policy.roots + stranger.policy().roots)
    assert factory.verify(policy=policy)
    assert factory.refusal(collateral=stranger.collateral(), policy=policy) is (
        Rejection.UNKNOWN_KEY
    )


@pytest.mark.parametrize(
    "name", ["Intel SGX TCB Signing", "Intel SGX PCK Certificate", "Intel SGX PCK Platform CA"]
)
def test_a_key_in_another_role_is_refused(name: str) -> None:
    """The root certifies keys for several uses; each use has its name."""
    authority = UnsafeTdxAuthority(now=NOW, names={name: "Something else"})
    payload = encode(authority.quote(REPORT_DATA), Collateral.from_file(authority.collateral()))
    with pytest.raises(EvidenceRejected) as caught:
        authority.policy().verifier().verify(
            Evidence(kind=TDX, payload=payload), report_data=REPORT_DATA, now=NOW
        )
    assert caught.value.reason is Rejection.CHAIN


@pytest.mark.parametrize("name", ["tcb_info_signature", "qe_identity_signature"])
def test_statements_signed_by_nobody_are_refused(factory, name: str) -> None:
    """A statement's signature counts, of both statements."""
    value = json.loads(factory.authority.collateral()) | {name: "11" * 64}
    assert factory.refusal(collateral=json.dumps(value).encode()) is Rejection.SIGNATURE


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_an_edited_statement_is_refused(factory, name: str) -> None:
    """A better status, or another enclave, under the old signature."""
    value = json.loads(factory.authority.collateral(status="OutOfDate"))
    value[name] = value[name].replace("OutOfDate", "UpToDate").replace(":2,", ": 2,")
    assert factory.refusal(collateral=json.dumps(value).encode()) is Rejection.SIGNATURE


def test_without_the_library_nothing_is_accepted(factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package refuses, and says what to install."""
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    refused = factory.refused()
    assert refused.reason is Rejection.KIND_NOT_ACCEPTED
    assert refused.hint == "install lanai[tdx], which brings dcap-qvl"


@pytest.mark.parametrize("said", ["{}", '{"tcb":{"status":1}}', "no JSON", '{"tcb":null}'])
def test_claims_that_are_no_claims_are_refused(
    factory, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """What the library says is read strictly: a form that is not known accepts nothing."""
    verifier = SimpleNamespace(verify_with_policy=lambda *_: SimpleNamespace(to_json=lambda: said))
    fake = SimpleNamespace(
        QuoteVerifier=lambda _: verifier,
        QuoteCollateralV3=lambda *_: None,
        QuotePolicy=SimpleNamespace(claims_only=lambda _: None),
    )
    monkeypatch.setitem(sys.modules, "dcap_qvl", fake)
    assert factory.refusal() is Rejection.MALFORMED


def test_a_panic_of_the_library_is_a_refusal(factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rust's panics are no Exceptions; Ctrl-C still is what it is."""

    class PanicException(BaseException):
        pass

    for raised, expected in ((PanicException, EvidenceRejected), (KeyboardInterrupt,) * 2):

        def fail(_: bytes, raised: type[BaseException] = raised) -> None:
            raise raised

        monkeypatch.setitem(sys.modules, "dcap_qvl", SimpleNamespace(QuoteVerifier=fail))
        with pytest.raises(expected):
            factory.verify()


def test_a_node_has_to_measure_what_its_release_says(factory) -> None:
    """Golden values of the release record are compared; one other value, or none, refuses."""
    world = UnsafeTrustWorld(now=NOW)
    root = replace(world.root, evidence=AnyOf(One(factory.policy)))
    verifier = NodeVerifier(root, clock=lambda: float(NOW))
    key = b"k" * 1216

    def bundle(golden):
        made = world.bundle(key, release=replace(unsafe_release(), golden=golden))
        bound = report_data(key, made.tls_spki_sha256, made.not_before, made.expires_at)
        payload = factory.payload(quote=factory.authority.quote(bound))
        return replace(made, evidence=(Evidence(kind=TDX, payload=payload),))

    assert verifier.verify(bundle({"tdx": {"mrtd": "01" * 48}})).evidence_kind == "tdx"
    for golden in ({"tdx": {"mrtd": "02" * 48}}, {"tdx": {"mrnew": "01" * 48}}, {}):
        with pytest.raises(EvidenceRejected) as caught:
            verifier.verify(bundle(golden))
        assert caught.value.reason is Rejection.MEASUREMENT
