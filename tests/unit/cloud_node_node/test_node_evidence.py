"""Which attesters a node's configuration makes, and what they need."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud_node.node.evidence import EvidenceConfig, SevSnpConfig, TdxConfig, attesters_of
from lanai.errors import ConfigError, EvidenceRejected, Rejection
from trust.testing import unsafe_release

RELEASE = unsafe_release()


def test_every_source_that_is_named_attests(tmp_path: Path) -> None:
    """One attester for each source, and software evidence marks the whole as unsafe."""
    key = tmp_path / "key.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    config = EvidenceConfig(
        unsafe_software_key=key,
        sev_snp=SevSnpConfig(tsm_folder=tmp_path),
        tdx=TdxConfig(tsm_folder=tmp_path, collateral=tmp_path / "collateral.json"),
        nvidia=True,
    )
    kinds = [attester.kind for attester in attesters_of(config, RELEASE)]
    assert sorted(kinds) == ["nvidia", "sev_snp", "tdx", "unsafe_software"]
    assert config.unsafe
    assert not config.model_copy(update={"unsafe_software_key": None}).unsafe


def test_no_source_is_an_error() -> None:
    """A node without evidence does not start."""
    with pytest.raises(ConfigError):
        attesters_of(EvidenceConfig(), RELEASE)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    """A missing or a foreign key or certificate is named."""
    foreign = tmp_path / "key.pem"
    foreign.write_text("not a key")
    for path in (foreign, tmp_path / "absent"):
        with pytest.raises(ConfigError) as caught:
            attesters_of(EvidenceConfig(unsafe_software_key=path), RELEASE)
        assert str(path) in str(caught.value)
    absent = tmp_path / "ark.der"
    chain = SevSnpConfig(ark=absent, ask=absent, vek=absent)
    with pytest.raises(ConfigError):
        attesters_of(EvidenceConfig(sev_snp=chain), RELEASE)


def test_a_machine_without_the_hardware_attests_nothing(tmp_path: Path) -> None:
    """Where the kernel offers no reports, the attester refuses; nothing else takes its place."""
    folder = tmp_path / "no-such-folder"
    config = EvidenceConfig(sev_snp=SevSnpConfig(tsm_folder=folder))
    (attester,) = attesters_of(config, RELEASE)
    with pytest.raises(EvidenceRejected) as caught:
        attester.attest(bytes(32))
    assert caught.value.reason is Rejection.EVIDENCE_MISSING
