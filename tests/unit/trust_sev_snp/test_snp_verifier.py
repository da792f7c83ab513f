"""Evidence of a test authority: accepted as it is, refused for its own reason once changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.sev_snp import Tcb
from trust.attestation.sev_snp.certificate import AmdCertificate
from trust.attestation.sev_snp.testing import UnsafeSevSnpAuthority, UnsafeVek

NOW = 1_800_000_000
DAY = 24 * 3600
REPORT_DATA = bytes(range(32))
GUEST_POLICY = 0x3001F


@contextmanager
def refused(reason: Rejection) -> Iterator[None]:
    with pytest.raises(EvidenceRejected) as caught:
        yield
    assert caught.value.reason is reason, caught.value.message


def policy_bits(bits: int) -> dict[int, bytes]:
    return {0x08: (GUEST_POLICY | bits).to_bytes(8, "little")}


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_a_good_guest_is_accepted(milan, version) -> None:
    """The claims are the report's measurements, in hex, for each version of the report."""
    report = milan.vek.report(REPORT_DATA, version=version, patches={0xC0: b"\x07" * 32})
    claims = milan.verify(report=report)
    assert claims.kind == "sev_snp"
    assert claims.measurements == {
        "measurement": report[0x90:0xC0].hex(),
        "host_data": "07" * 32,
        "id_key_digest": "00" * 48,
        "author_key_digest": "00" * 48,
        "guest_policy": "000000000003001f",
    }


def test_a_turin_guest_is_accepted(turin) -> None:
    """Turin orders its TCB otherwise, has an FMC version and chip ids of 8 bytes."""
    turin.verify(report=turin.vek.report(REPORT_DATA, version=5))


def test_other_kinds_are_refused(milan) -> None:
    """Evidence that says it is of another kind is not looked at."""
    with refused(Rejection.KIND_NOT_ACCEPTED):
        milan.verify(kind="tdx")


def test_a_guest_that_may_be_debugged_is_refused(milan) -> None:
    """No policy accepts the debug bit."""
    with refused(Rejection.DEBUG):
        milan.verify(report=milan.vek.report(REPORT_DATA, patches=policy_bits(1 << 19)))


@pytest.mark.parametrize("bound", [bytes(32), REPORT_DATA + b"\x01", REPORT_DATA[:31]])
def test_other_report_data_are_refused(milan, bound) -> None:
    """The first 32 bytes are exactly the expected ones, the other 32 are zero."""
    with refused(Rejection.KEY_BINDING):
        milan.verify(report=milan.vek.report(bound))


def test_nothing_is_bound_to_no_report_data(milan) -> None:
    """A caller that expects nothing, or too much, gets nothing: not even a report over zeros."""
    for expected in (b"", bytes(64)):
        with refused(Rejection.KEY_BINDING):
            milan.verify(report=milan.vek.report(bytes(32)), report_data=expected)


@pytest.mark.parametrize("half", [bytes(48), b"\xff" * 48])
def test_a_signature_out_of_range_is_refused(milan, half) -> None:
    """Zero, as where the chip's key is masked, or more than the order of the curve."""
    report = bytearray(milan.vek.report(REPORT_DATA))
    report[0x2A0:0x2D0] = report[0x2E8:0x318] = half
    with refused(Rejection.SIGNATURE):
        milan.verify(report=bytes(report))


@pytest.mark.parametrize("place", [0x180, 0x38, 0x1F0])
def test_firmware_below_the_minimum_is_refused(milan, place) -> None:
    """Reported, current and launch TCB each count."""
    old = replace(milan.authority.tcb, snp=milan.authority.tcb.snp - 1)
    vek = UnsafeVek(milan.authority, tcb=old) if place == 0x180 else milan.vek
    patches = {place: bytes((old.bootloader, old.tee, 0, 0, 0, 0, old.snp, old.microcode))}
    with refused(Rejection.TCB):
        milan.verify(report=vek.report(REPORT_DATA, patches=patches), chain=vek.chain)


@pytest.mark.parametrize("name", ["fmc", "bootloader", "snp", "microcode"])
def test_each_component_counts(turin, name) -> None:
    """One old component is enough to refuse, however new the others are."""
    newest = Tcb(fmc=255, bootloader=255, tee=255, snp=255, microcode=255)
    minimum = turin.authority.tcb
    vek = UnsafeVek(turin.authority, tcb=replace(newest, **{name: getattr(minimum, name) - 1}))
    with refused(Rejection.TCB):
        turin.verify(report=vek.report(REPORT_DATA, version=5), chain=vek.chain)


def test_a_certificate_of_other_firmware_is_refused(milan) -> None:
    """The key's certificate has to be for the very TCB that is reported."""
    newer = replace(milan.authority.tcb, microcode=220)
    vek = UnsafeVek(milan.authority, tcb=newer, key=milan.vek.key)
    with refused(Rejection.CHAIN):
        milan.verify(chain=vek.chain)


@pytest.mark.parametrize("chip_id", [b"\x01" * 64, bytes(64)])
def test_another_or_no_chip_id_is_refused(milan, chip_id) -> None:
    """A VCEK names its chip: a report of another one, or one that masks it, is not its."""
    with refused(Rejection.CHAIN):
        milan.verify(report=milan.vek.report(REPORT_DATA, patches={0x1A0: chip_id}))


def test_a_chip_id_with_a_tail_is_refused(turin) -> None:
    """On Turin the 56 bytes after the chip id are zero."""
    report = turin.vek.report(REPORT_DATA, version=5, patches={0x1DF: b"\x01"})
    with refused(Rejection.CHAIN):
        turin.verify(report=report)


def test_a_swapped_chip_is_refused(milan) -> None:
    """The certificate of another genuine chip does not verify this one's report."""
    other = UnsafeVek(milan.authority, chip_id=b"\x02" * 64)
    with refused(Rejection.SIGNATURE):
        milan.verify(chain=other.chain)


@pytest.mark.parametrize(
    ("now", "reason"),
    [(NOW + 8 * DAY, Rejection.EXPIRED), (NOW - 2 * DAY, Rejection.NOT_YET_VALID)],
)
def test_certificates_outside_their_window_are_refused(milan, now, reason) -> None:
    """Each certificate has to be valid now."""
    with refused(reason):
        milan.verify(now=now)


def test_another_root_is_refused(milan, rsa_keys) -> None:
    """A whole good chain of a root that is not pinned counts for nothing."""
    stranger = UnsafeSevSnpAuthority(now=NOW, keys=rsa_keys[::-1])
    vek = UnsafeVek(stranger)
    with refused(Rejection.UNKNOWN_KEY):
        milan.verify(report=vek.report(REPORT_DATA), chain=vek.chain)


def test_a_chain_of_a_stranger_below_the_pinned_root_is_refused(milan, rsa_keys) -> None:
    """The pinned root has to have signed the intermediate, and that one the leaf."""
    stranger = UnsafeSevSnpAuthority(now=NOW, keys=rsa_keys[::-1])
    vek = UnsafeVek(stranger)
    with refused(Rejection.CHAIN):
        milan.verify(report=vek.report(REPORT_DATA), chain=vek.chain, ark=milan.authority.ark)
    with refused(Rejection.CHAIN):
        milan.verify(report=vek.report(REPORT_DATA), vek=vek.chain.vek)


def test_certificates_in_other_roles_are_refused(milan) -> None:
    """An intermediate for cloud providers does not vouch for a chip, nor does the root itself."""
    for ask in (milan.authority.asvk, milan.authority.ark):
        with refused(Rejection.CHAIN):
            milan.verify(ask=ask)


def test_a_line_judged_as_another_is_refused(milan, turin) -> None:
    """A root pinned for one product line does not serve another."""
    with refused(Rejection.CHAIN):
        milan.verify(policy=turin.policy)
    report = milan.vek.report(REPORT_DATA, patches={0x188: b"\x1a"})
    with refused(Rejection.CHAIN):
        milan.verify(report=report)


@pytest.mark.parametrize("certificate", ["ark", "ask", "vek"])
def test_a_revoked_key_is_refused(milan, certificate) -> None:
    """Any key of the chain can be revoked by the policy."""
    digest = AmdCertificate.parse(getattr(milan.vek.chain, certificate)).spki_sha256
    with refused(Rejection.REVOKED):
        milan.verify(policy=replace(milan.policy, revoked=(digest,)))


def test_a_provider_key_needs_the_policy_to_name_it(milan) -> None:
    """A VLEK signs only for providers the policy names, with the intermediate of its own."""
    vek = UnsafeVek(milan.authority, operator="provider")
    report = vek.report(REPORT_DATA)
    milan.verify(
        report=report, chain=vek.chain, policy=replace(milan.policy, vlek_operators=("provider",))
    )
    for operators in ((), ("another",)):
        with refused(Rejection.CHAIN):
            policy = replace(milan.policy, vlek_operators=operators)
            milan.verify(report=report, chain=vek.chain, policy=policy)


def test_a_provider_key_that_calls_itself_a_chip_is_refused(milan) -> None:
    """The flag in the report and the certificate have to agree on what signed."""
    vek = UnsafeVek(milan.authority, operator="provider")
    policy = replace(milan.policy, vlek_operators=("provider",))
    with refused(Rejection.CHAIN):
        report = vek.report(REPORT_DATA, patches={0x48: b"\x00"})
        milan.verify(report=report, chain=vek.chain, policy=policy)


@pytest.mark.parametrize("vmpl", [1, 3, 0xFFFFFFFF])
def test_a_less_privileged_level_is_refused(milan, vmpl) -> None:
    """Reports of levels above the maximum are refused; the host's own (all ones) always are."""
    report = milan.vek.report(REPORT_DATA, patches={0x30: vmpl.to_bytes(4, "little")})
    with refused(Rejection.GUEST_POLICY):
        milan.verify(report=report)
    everything = replace(milan.policy, maximum_vmpl=3)
    if vmpl <= 3:
        milan.verify(report=report, policy=everything)
    else:
        with refused(Rejection.GUEST_POLICY):
            milan.verify(report=report, policy=everything)


@pytest.mark.parametrize(
    ("patches", "word"),
    [
        pytest.param(policy_bits(0), "smt", id="smt"),
        pytest.param(policy_bits(1 << 18), "migration_agent", id="migration"),
        pytest.param({0x160: bytes(32)}, "migration_agent", id="agent"),
        pytest.param(policy_bits(1 << 21), "cxl", id="cxl"),
    ],
)
def test_what_the_guest_grants_is_refused_unless_named(milan, patches, word) -> None:
    """Threads, migration, memory over CXL: accepted by a policy that names them, and no other."""
    report = milan.vek.report(REPORT_DATA, patches=patches)
    milan.verify(report=report, policy=replace(milan.policy, guest_may=tuple({"smt", word})))
    without = tuple({"smt"} - {word})
    with refused(Rejection.GUEST_POLICY):
        milan.verify(report=report, policy=replace(milan.policy, guest_may=without))


def test_an_old_firmware_interface_is_refused(milan) -> None:
    """The guest has to have asked for the policy's interface version, or a later one."""
    milan.verify(policy=replace(milan.policy, minimum_abi=(0, 31)))
    for minimum in ((0, 32), (1, 0)):
        with refused(Rejection.GUEST_POLICY):
            milan.verify(policy=replace(milan.policy, minimum_abi=minimum))


@pytest.mark.parametrize(
    ("changes", "patches"),
    [
        ({"guest_must": ("ciphertext_hiding",)}, policy_bits(1 << 24)),
        ({"guest_must": ("single_socket", "rapl_disabled")}, policy_bits(1 << 20 | 1 << 23)),
        ({"platform": ("ciphertext_hiding",)}, {0x40: b"\x35"}),
        ({"id_keys": ("05" * 48,)}, {0xE0: b"\x05" * 48}),
        ({"author_keys": ("06" * 48,)}, {0x110: b"\x06" * 48, 0x48: b"\x01"}),
    ],
)
def test_what_the_policy_demands(milan, changes, patches) -> None:
    """What a policy asks of guest and platform is met, or the guest is refused."""
    policy = replace(milan.policy, **changes)
    milan.verify(report=milan.vek.report(REPORT_DATA, patches=patches), policy=policy)
    with refused(Rejection.GUEST_POLICY):
        milan.verify(policy=policy)


def test_an_author_digest_without_an_author_key_is_refused(milan) -> None:
    """The digest counts only where the report says that an author key signed."""
    policy = replace(milan.policy, author_keys=("06" * 48,))
    report = milan.vek.report(REPORT_DATA, patches={0x110: b"\x06" * 48})
    with refused(Rejection.GUEST_POLICY):
        milan.verify(report=report, policy=policy)


def test_a_guest_without_a_measurement_is_refused(milan) -> None:
    """A measurement of zeros is no measurement."""
    report = milan.vek.report(REPORT_DATA, patches={0x90: bytes(48)})
    with refused(Rejection.MALFORMED):
        milan.verify(report=report)
