"""Evidence of a real (software) TPM: endorsement, activation, quotes, rotation, restarts."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from cloud_node.attestation_ca.endorsement import verify_attestation_key
from cloud_node.identity import CHANNEL_OPTIONS
from cloud_node.tpm import EventFile, Tpm2Attester, TpmAddress, TpmConfig
from lanai.errors import CloudUnavailable, ConfigError, EvidenceRejected, Rejection
from protos.lanai.v1alpha import attestation_ca_pb2 as pb
from protos.lanai.v1alpha.attestation_ca_pb2_grpc import AttestationCaStub
from trust.attestation.evidence import Evidence
from trust.attestation.tpm2 import NODE_PCR, EventKind, NodeEvent, Tpm2Payload
from trust.attestation.tpm2.credential import make_credential
from trust.attestation.tpm2.structures import PublicArea
from trust.testing import unsafe_release

# The name conftest gives to its part, for types only.
RunningCa = Any

FIRST, SECOND = bytes([1]) * 32, bytes([2]) * 32


def attester(swtpm: TpmAddress, ca: RunningCa, folder: Path) -> Tpm2Attester:
    """As a node is configured."""
    config = TpmConfig(
        unsafe_swtpm_socket=swtpm.path, authority=ca.endpoint, event_file=folder / "events"
    )
    return Tpm2Attester.of(config, unsafe_release())


def judged(ca: RunningCa, evidence: Evidence, report_data: bytes) -> dict[str, str]:
    claims = ca.policy.verifier().verify(evidence, report_data=report_data, now=time.time())
    return dict(claims.measurements)


def refused(ca: RunningCa, evidence: Evidence, report_data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        judged(ca, evidence, report_data)
    return caught.value.reason


def test_a_quote_is_verified_from_endorsement_to_claims(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """Activation at the CA, the log in the PCR and the quote end in the release's own digests."""
    evidence = attester(swtpm, ca, tmp_path).attest(FIRST)
    release = unsafe_release()
    assert evidence.kind == "unsafe_swtpm"
    assert judged(ca, evidence, FIRST) == {
        "software": release.software,
        "weights": release.weights,
        "configuration": release.configuration,
    }
    assert [json.loads(line)["event"] for line in ca.log.read_text().splitlines()] == [
        "unsafe_evidence",
        "ready",
        "ak_certified",
    ]


def test_keys_rotate_and_old_evidence_speaks_for_old_keys(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """New keys append to the log; each quote is good for its own keys and no others."""
    node = attester(swtpm, ca, tmp_path)
    first, second = node.attest(FIRST), node.attest(SECOND)
    assert judged(ca, first, FIRST) == judged(ca, second, SECOND)
    assert len(Tpm2Payload.parse(second.payload).events) == 5
    assert refused(ca, first, SECOND) is Rejection.KEY_BINDING
    assert refused(ca, second, FIRST) is Rejection.KEY_BINDING


def test_a_quote_is_kept_while_its_keys_are_asked_about(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """Refreshing a bundle costs the log nothing: it is bounded."""
    node = attester(swtpm, ca, tmp_path)
    assert node.attest(FIRST) is node.attest(FIRST)


def test_a_restarted_node_and_its_neighbour_share_the_log(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """The release stands in the log once; whoever attests last on a machine is last in it."""
    one, other = attester(swtpm, ca, tmp_path), attester(swtpm, ca, tmp_path)
    judged(ca, one.attest(FIRST), FIRST)
    evidence = other.attest(SECOND)
    judged(ca, evidence, SECOND)
    kinds = [event.kind for event in Tpm2Payload.parse(evidence.payload).events]
    assert kinds.count(EventKind.SOFTWARE) == 1


def test_an_interrupted_extend_is_made_up_for(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """A node killed between file and PCR leaves a log that its successor completes."""
    attester(swtpm, ca, tmp_path).attest(FIRST)
    left = NodeEvent(EventKind.KEYS, bytes([7]) * 32)
    with (tmp_path / "events").open("ab") as file:
        file.write(left.serialize())
    evidence = attester(swtpm, ca, tmp_path).attest(SECOND)
    judged(ca, evidence, SECOND)
    assert left in Tpm2Payload.parse(evidence.payload).events


def test_another_release_on_the_same_boot_is_refused(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """An update of the software asks for a restart of the machine."""
    node = attester(swtpm, ca, tmp_path)
    node.attest(FIRST)
    config = TpmConfig(
        unsafe_swtpm_socket=swtpm.path, authority=ca.endpoint, event_file=tmp_path / "events"
    )
    updated = Tpm2Attester.of(config, replace(unsafe_release(), software="44" * 32))
    with pytest.raises(ConfigError, match="another release"):
        updated.attest(SECOND)


def test_a_pcr_that_something_else_extended_is_refused(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """The node does not make evidence that no device would take."""
    with swtpm.open() as tpm:
        tpm.extend(NODE_PCR, bytes([9]) * 32)
    with pytest.raises(ConfigError, match="does not hold"):
        attester(swtpm, ca, tmp_path).attest(FIRST)


def test_an_event_left_out_of_the_log_is_refused(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """The TPM's PCR holds every event: a log without one of them does not lead to it."""
    node = attester(swtpm, ca, tmp_path)
    node.attest(FIRST)
    payload = Tpm2Payload.parse(node.attest(SECOND).payload)
    shorter = replace(payload, events=(*payload.events[:3], payload.events[4]))
    evidence = Evidence(kind="unsafe_swtpm", payload=shorter.serialize())
    assert refused(ca, evidence, SECOND) is Rejection.EVENT_LOG


def test_no_handle_is_left_behind(swtpm: TpmAddress, ca: RunningCa, tmp_path: Path) -> None:
    """Far more commands than a TPM has slots for keys and sessions."""
    node = attester(swtpm, ca, tmp_path)
    for number in range(1, 9):
        node.attest(bytes([number]) * 32)
        with swtpm.open() as tpm:
            endorsement = tpm.endorsement()
            key = verify_attestation_key(tpm.attestation_public())
            credential = make_credential(PublicArea.parse(endorsement.public), key.name, b"secret")
            assert tpm.activate(credential.blob, credential.secret) == b"secret"


@pytest.mark.parametrize("kind", ["EK-RSA2048", "EK-HIGH-ECC384"])
def test_a_credential_opens_in_its_tpm_for_its_key_alone(
    swtpm: TpmAddress, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make_credential` agrees with a TPM, for RSA and elliptic curve endorsement keys."""
    from cloud_node.tpm import device

    monkeypatch.setattr(device, "_EK_TEMPLATES", (kind,))
    value = os.urandom(32)
    with swtpm.open() as tpm:
        endorsement = PublicArea.parse(tpm.endorsement().public)
        name = verify_attestation_key(tpm.attestation_public()).name
        good = make_credential(endorsement, name, value)
        assert tpm.activate(good.blob, good.secret) == value
    other = make_credential(endorsement, name[:-1] + bytes([name[-1] ^ 1]), value)
    with pytest.raises(CloudUnavailable), swtpm.open() as tpm:
        tpm.activate(other.blob, other.secret)


def test_the_ca_certifies_only_who_opened_its_credential(swtpm: TpmAddress, ca: RunningCa) -> None:
    """A wrong secret is refused, and spends the challenge: the right one comes too late."""
    with swtpm.open() as tpm:
        endorsement, key = tpm.endorsement(), tpm.attestation_public()
    credentials = grpc.ssl_channel_credentials(ca.endpoint.certificate.encode())
    with grpc.secure_channel(ca.endpoint.address, credentials, options=CHANNEL_OPTIONS) as channel:
        stub = cast(Any, AttestationCaStub(channel))
        asked = stub.Challenge(
            pb.ChallengeRequest(
                ek_certificate=endorsement.certificate, ek_public=endorsement.public, ak_public=key
            )
        )
        with swtpm.open() as tpm:
            secret = tpm.activate(asked.credential_blob, asked.encrypted_secret)
        for shown in (bytes(32), secret):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Certify(pb.CertifyRequest(challenge_id=asked.challenge_id, secret=shown))
            assert cast(Any, caught.value).details() == "unauthenticated"
    reasons = [json.loads(line).get("reason") for line in ca.log.read_text().splitlines()]
    assert reasons.count("challenge") == 2


def test_no_tpm_is_one_clear_error(ca: RunningCa, tmp_path: Path) -> None:
    """A socket nobody serves."""
    nowhere = TpmAddress(path=str(tmp_path / "none"), unsafe_swtpm=True)
    with pytest.raises(CloudUnavailable, match="the TPM failed"):
        attester(nowhere, ca, tmp_path).attest(FIRST)


def test_the_event_file_alone_forges_nothing(
    swtpm: TpmAddress, ca: RunningCa, tmp_path: Path
) -> None:
    """A rewritten file does not lead to the PCR: the node says so instead of lying."""
    attester(swtpm, ca, tmp_path).attest(FIRST)
    path = tmp_path / "events"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with swtpm.open() as tpm, pytest.raises(ConfigError, match="does not hold"):
        EventFile(path).record(tpm, (), NodeEvent(EventKind.KEYS, SECOND))
