"""The policy as the trust root writes it."""

import json

import pytest

from lanai.errors import Rejection, TrustError
from trust.attestation import policy_from_json
from trust.attestation.sev_snp import AcceptedLine, ProductLine, SevSnpPolicy, Tcb

POLICY = SevSnpPolicy(
    lines=(
        AcceptedLine(
            line=ProductLine.GENOA,
            ark_spki_sha256="ab" * 32,
            minimum_tcb=Tcb(bootloader=1, tee=2, snp=3, microcode=4),
        ),
        AcceptedLine(
            line=ProductLine.TURIN,
            ark_spki_sha256="cd" * 32,
            minimum_tcb=Tcb(fmc=5, bootloader=1, tee=2, snp=3, microcode=4),
        ),
    ),
    maximum_vmpl=2,
    minimum_abi=(1, 55),
    guest_may=("smt",),
    guest_must=("ciphertext_hiding",),
    platform=("ecc", "alias_check"),
    id_keys=("01" * 48,),
    author_keys=("02" * 48,),
    vlek_operators=("provider",),
    revoked=("03" * 32,),
)


def changed(**values: object) -> dict[str, object]:
    return {"kind": "sev_snp", **POLICY.to_json(), **values}


def test_the_policy_comes_back_from_json() -> None:
    """What is written into the trust root is read back as the same policy."""
    value = json.loads(json.dumps(changed()))
    read = policy_from_json(value)
    assert read.to_json() == value
    assert not read.unsafe
    value.pop("kind")
    assert SevSnpPolicy.from_json(value) == POLICY


@pytest.mark.parametrize(
    "value",
    [
        changed(surprise=1),
        changed(lines={}),
        changed(lines={"Rome": POLICY.lines[0].to_json()}),
        changed(lines={"Milan": POLICY.lines[1].to_json()}),
        changed(lines={"Turin": POLICY.lines[0].to_json()}),
        changed(maximum_vmpl=4),
        changed(maximum_vmpl=True),
        changed(minimum_abi="1.055"),
        changed(guest_may=["debug"]),
        changed(guest_must=["smt"]),
        changed(platform="ecc"),
        changed(id_keys=["00"]),
        changed(revoked=["AB" * 32]),
    ],
)
def test_a_policy_that_is_not_exact_is_refused(value) -> None:
    """Unknown keys, words and lines, and values of another form, refuse the whole policy."""
    with pytest.raises(TrustError) as caught:
        policy_from_json(value)
    assert caught.value.reason is Rejection.MALFORMED


def test_a_policy_made_in_code_is_held_to_the_same_form() -> None:
    """A value that could not be read from a file cannot be made either."""
    with pytest.raises(TrustError):
        SevSnpPolicy(lines=POLICY.lines, maximum_vmpl=7)
    with pytest.raises(TrustError):
        SevSnpPolicy(lines=POLICY.lines[:1] * 2)
