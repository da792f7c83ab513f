"""What NVIDIA evidence is accepted, and why other evidence is refused."""

from dataclasses import replace
from hashlib import sha256

import pytest

from lanai.errors import Rejection
from trust.attestation.nvidia.testing import UnsafeNvidiaAuthority, UnsafeNvidiaDevice

REPORT_DATA = bytes(range(32))
DAY = 86400
VBIOS, FWID, PROTECTED, FEATURE = 6, 20, 21, 36


def test_a_gpu_is_accepted_with_what_it_measured(factory) -> None:
    """Claims name the device's model, its firmware, versions and measurement blocks."""
    claims = factory.verify()
    assert claims.kind == "nvidia"
    assert claims.measurements["gpus"] == "1"
    assert claims.measurements["model"] == "GH100"
    assert claims.measurements["driver"] == "550.90.07"
    assert claims.measurements["vbios"] == "96.00.9F.00.01"
    assert claims.measurements["fwid"] == factory.gpu.fwid.hex()
    assert len(claims.measurements["measurement_00"]) == 96
    assert "measurement_04" not in claims.measurements


def test_only_what_all_gpus_say_alike_is_claimed(factory) -> None:
    """A machine whose GPUs run two drivers claims none, so a golden driver finds nothing."""
    other = UnsafeNvidiaDevice(factory.authority)
    devices = (factory.gpu.evidence(REPORT_DATA), other.evidence(REPORT_DATA, driver=b"590.12"))
    claims = factory.verify(*devices)
    assert claims.measurements["gpus"] == "2"
    assert "driver" not in claims.measurements
    assert claims.measurements["vbios"] == "96.00.9F.00.01"


def test_switches_claim_under_names_of_their_own(factory) -> None:
    """A switch is no GPU: its measurements cannot stand for one."""
    switch = UnsafeNvidiaDevice(factory.authority, model="LS_10", firmware=b"switch")
    shown = switch.evidence(REPORT_DATA, driver=b"")
    claims = factory.verify(factory.gpu.evidence(REPORT_DATA), shown)
    assert (claims.measurements["gpus"], claims.measurements["switches"]) == ("1", "1")
    assert claims.measurements["switch_fwid"] == switch.fwid.hex()
    assert claims.measurements["fwid"] == factory.gpu.fwid.hex()
    assert factory.refusal(shown) is Rejection.EVIDENCE_MISSING


def test_modes_are_claimed_where_the_driver_reports_them(factory) -> None:
    """Unencrypted links between GPUs (ppcie) can be told from one confidential GPU."""
    fields = {PROTECTED: b"\xaa", FEATURE: b"\x02\x00"}
    claims = factory.verify(factory.gpu.evidence(REPORT_DATA, fields=fields))
    assert claims.measurements["feature"] == "ppcie"
    assert claims.measurements["protected_pcie"] == "on"


def test_another_kind_is_not_read(factory) -> None:
    """The verifier is for its own kind."""
    assert factory.refusal(kind="tdx") is Rejection.KIND_NOT_ACCEPTED


def test_a_report_for_other_keys_is_refused(factory) -> None:
    """The nonce is the report data, all of it."""
    assert factory.refusal(factory.gpu.evidence(bytes(32))) is Rejection.KEY_BINDING


def test_each_device_has_to_answer_this_nonce(factory) -> None:
    """One stale report among fresh ones spoils all."""
    other = UnsafeNvidiaDevice(factory.authority)
    devices = (factory.gpu.evidence(REPORT_DATA), other.evidence(bytes(32)))
    assert factory.refusal(*devices) is Rejection.KEY_BINDING


def test_another_devices_chain_is_refused(factory) -> None:
    """A report is signed by the key its chain certifies, not by just any device's."""
    other = UnsafeNvidiaDevice(factory.authority)
    swapped = replace(factory.gpu.evidence(REPORT_DATA), chain=other.chain)
    assert factory.refusal(swapped) is Rejection.SIGNATURE


def test_a_swapped_certificate_is_refused(factory) -> None:
    """Each certificate is issued by the next one."""
    other = UnsafeNvidiaDevice(factory.authority)
    chain = (factory.gpu.chain[0], *other.chain[1:])
    swapped = replace(factory.gpu.evidence(REPORT_DATA), chain=chain)
    assert factory.refusal(swapped) is Rejection.CHAIN


def test_an_unknown_root_is_refused(factory) -> None:
    """A whole sound chain of another authority is worth nothing."""
    stranger = UnsafeNvidiaDevice(UnsafeNvidiaAuthority(now=factory.authority.now))
    assert factory.refusal(stranger.evidence(REPORT_DATA)) is Rejection.UNKNOWN_KEY


def test_a_device_cannot_certify_another(factory) -> None:
    """A leaf's key is for reports: what it issues is refused, though the signature is right."""
    authority = factory.authority
    issuer = ("GH100 FMC LF", factory.gpu.key)
    forged = UnsafeNvidiaDevice(authority)
    leaf = authority.issue("GH100 FMC LF", forged.key, issuer=issuer)
    evidence = replace(forged.evidence(REPORT_DATA), chain=(leaf, *factory.gpu.chain))
    assert factory.refusal(evidence) is Rejection.CHAIN


@pytest.mark.parametrize("part", [0, 1])
def test_an_issuers_key_signs_no_reports(factory, part: int) -> None:
    """The first certificate has to be a device's own, for signing."""
    issuer = UnsafeNvidiaDevice(factory.authority, signs_reports=False)
    shown = issuer.evidence(REPORT_DATA)
    assert factory.refusal(replace(shown, chain=shown.chain[part:])) is Rejection.CHAIN


def test_certificates_hold_for_a_time(factory) -> None:
    """Before and after a certificate's window, evidence is refused."""
    now = factory.authority.now
    assert factory.refusal(now=now - 2 * DAY) is Rejection.NOT_YET_VALID
    assert factory.refusal(now=now + 8 * DAY) is Rejection.EXPIRED


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_revoked_certificate_is_refused(factory, part: int) -> None:
    """The policy's list counts for devices and for whole families."""
    revoked = (sha256(factory.gpu.chain[part]).hexdigest(),)
    assert factory.refusal(policy=replace(factory.policy, revoked=revoked)) is Rejection.REVOKED


def test_another_model_is_refused(factory) -> None:
    """A device the policy does not name counts as absent."""
    policy = replace(factory.policy, models=("GB100",))
    assert factory.refusal(policy=policy) is Rejection.EVIDENCE_MISSING


def test_too_few_gpus_are_refused(factory) -> None:
    """A node cannot leave out the GPUs it would rather not show."""
    assert factory.refusal(policy=replace(factory.policy, gpus=2)) is Rejection.EVIDENCE_MISSING


def test_one_gpu_shown_twice_counts_once(factory) -> None:
    """Two reports of one device are no two devices."""
    devices = (factory.gpu.evidence(REPORT_DATA), factory.gpu.evidence(REPORT_DATA))
    assert factory.refusal(*devices) is Rejection.MALFORMED


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ({"driver": b"550.89.99"}, Rejection.TCB),
        ({"driver": b"99.99"}, Rejection.TCB),
        ({"driver": b""}, Rejection.TCB),
        ({"vbios": b"96.00.5E.00.01"}, Rejection.TCB),
        ({"vbios": b"\x00\x5e\x00\x96\x01\x00\x00\x00"}, Rejection.TCB),
        ({"vbios": b""}, Rejection.TCB),
        ({"driver": b"newest"}, Rejection.MALFORMED),
        ({"vbios": b"96.00"}, Rejection.MALFORMED),
        ({"vbios": b"\x00\x9f\x00\x96\x01\x00\x00\x01"}, Rejection.MALFORMED),
    ],
)
def test_old_firmware_is_refused(factory, versions: dict[str, bytes], reason: Rejection) -> None:
    """Versions compare as numbers, and one that is not reported is below every minimum."""
    assert factory.refusal(factory.gpu.evidence(REPORT_DATA, **versions)) is reason


@pytest.mark.parametrize("driver", [b"550.90", b"550.90.07", b"550.100", b"1000.1"])
def test_new_enough_drivers_pass(factory, driver: bytes) -> None:
    """The minimum itself, and everything above it as numbers."""
    assert factory.verify(factory.gpu.evidence(REPORT_DATA, driver=driver))


def test_an_old_switch_is_refused(factory) -> None:
    """Switches have a minimum of their own."""
    switch = UnsafeNvidiaDevice(factory.authority, model="LS_10")
    shown = switch.evidence(REPORT_DATA, driver=b"", vbios=b"96.00.5E.00.01")
    assert factory.refusal(factory.gpu.evidence(REPORT_DATA), shown) is Rejection.TCB


def test_the_firmware_is_the_certificates(factory) -> None:
    """A report of other firmware than the one the key was derived from is refused."""
    evidence = factory.gpu.evidence(REPORT_DATA, fields={FWID: bytes(48)})
    assert factory.refusal(evidence) is Rejection.MEASUREMENT
