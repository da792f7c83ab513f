"""Each step of the verification plan refuses what it is there for, with its own reason."""

import copy
import pickle
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import EvidenceRejected, LogRejected, Rejection, TrustError, TrustRootRejected
from trust.attestation import (
    AllOf,
    AnyOf,
    Claims,
    EvidencePolicy,
    One,
    UnsafeSoftwareAttester,
    UnsafeSoftwarePolicy,
    report_data,
)
from trust.bundle import Checkpoint, NodeBundle
from trust.log.merkle import Tree, leaf_hash
from trust.testing import NodeTls, UnsafeTrustWorld, unsafe_release
from trust.verification import NodeVerifier, VerifiedNode
from trust.witnessed import MAX_CLOCK_SKEW_S

NOW = 1_700_000_000
HPKE_KEY = b"k" * 1216


@pytest.fixture
def world() -> UnsafeTrustWorld:
    """A log of a few leaves, three witnesses, two of which suffice."""
    world = UnsafeTrustWorld(now=NOW)
    for number in range(5):
        world.append(b"leaf %d" % number)
    return world


@pytest.fixture
def bundle(world: UnsafeTrustWorld) -> NodeBundle:
    return world.bundle(HPKE_KEY)


def reason(
    verifier: NodeVerifier,
    bundle: NodeBundle,
    *,
    seen: Checkpoint | None = None,
    consistency: Sequence[bytes] = (),
    of: type[TrustError] = TrustError,
) -> Rejection:
    with pytest.raises(of) as refusal:
        verifier.verify(bundle, seen=seen, consistency=consistency)
    return refusal.value.reason


class Says:
    """A policy and verifier that finds what it was told, whatever it is shown."""

    unsafe = True

    def __init__(self, claims: Any, *, named: str = "unsafe_software") -> None:
        self.kind = named
        self._claims = claims

    def verifier(self) -> Any:
        return self

    def verify(self, evidence: Any, **_: Any) -> Claims:
        return self._claims


def judging(world: UnsafeTrustWorld, policy: EvidencePolicy) -> NodeVerifier:
    return NodeVerifier(world.root, clock=lambda: float(world.now), policy=policy)


def measured(bundle: NodeBundle) -> dict[str, str]:
    release = bundle.release
    return {name: getattr(release, name) for name in ("software", "weights", "configuration")}


def seen_at(world: UnsafeTrustWorld, size: int) -> Checkpoint:
    return Checkpoint(origin=world.origin, size=size, root=world.tree.root(size))


def test_a_good_node_is_verified(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """All that a caller needs comes from the bundle it verified."""
    node = world.verifier().verify(bundle)
    assert node.node_id == bundle.node_id
    assert (node.hpke_public_key, node.tls_certificate) == (HPKE_KEY, bundle.tls_certificate)
    assert node.tls_spki_sha256 == bundle.tls_spki_sha256
    assert (node.evidence_kind, node.measurement) == ("unsafe_software", bundle.release.digest())
    assert (node.model, node.context_tokens) == ("toy", 512)
    assert node.checkpoint == seen_at(world, 6)
    assert node.checkpoint_hash == node.checkpoint.digest()
    assert node.checkpoint_note == bundle.proof.checkpoint
    assert node.expires_at == bundle.expires_at


# 1 shape ------------------------------------------------------------------------------------


def test_1_the_certificate_must_be_sound(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Bytes that are no self-signed certificate are refused."""
    sound = bundle.tls_certificate
    damaged = replace(bundle, tls_certificate=sound[:-1] + bytes([sound[-1] ^ 1]))
    reason(world.verifier(), damaged, of=EvidenceRejected)
    noise = replace(bundle, tls_certificate=b"noise")
    assert reason(world.verifier(), noise, of=EvidenceRejected) is Rejection.MALFORMED


# 2 validity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (3600, Rejection.EXPIRED),
        (10**6, Rejection.EXPIRED),
        (-MAX_CLOCK_SKEW_S - 1, Rejection.NOT_YET_VALID),
    ],
)
def test_2_the_window(
    world: UnsafeTrustWorld, bundle: NodeBundle, shift: int, expected: Rejection
) -> None:
    """A bundle holds from its first second (less the clock skew) to before its last."""
    world.now += shift
    assert reason(world.verifier(), bundle, of=EvidenceRejected) is expected
    world.now = NOW + 3599 if shift > 0 else NOW - MAX_CLOCK_SKEW_S
    world.verifier().verify(bundle)


def test_2_the_maximum_lifetime(world: UnsafeTrustWorld) -> None:
    """Keys that would live a second longer than the root allows are refused."""
    longest = world.root.node_max_lifetime_s
    world.verifier().verify(world.bundle(HPKE_KEY, lifetime_s=longest))
    too_long = world.bundle(HPKE_KEY, lifetime_s=longest + 1)
    assert reason(world.verifier(), too_long, of=EvidenceRejected) is Rejection.LIFETIME


def test_2_the_certificate_has_a_window_too(world: UnsafeTrustWorld) -> None:
    """An expired certificate is refused inside a valid bundle."""
    tls = NodeTls.generate(now=NOW - 10**5, hours=1)
    expired = world.bundle(HPKE_KEY, tls=tls)
    assert reason(world.verifier(), expired, of=EvidenceRejected) is Rejection.EXPIRED


# 3 kind -------------------------------------------------------------------------------------


def test_3_only_accepted_kinds(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """A kind the policy does not name is refused before it is looked at."""
    verifier = judging(world, One(Says(UnsafeSoftwarePolicy(()), named="other")))
    assert reason(verifier, bundle, of=EvidenceRejected) is Rejection.KIND_NOT_ACCEPTED


def test_3_all_of_what_is_asked_for(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Good evidence of one kind does not stand for another that is missing."""
    other = One(Says(UnsafeSoftwarePolicy(()), named="other"))
    both = judging(world, AllOf(world.root.evidence, other))
    assert reason(both, bundle, of=EvidenceRejected) is Rejection.EVIDENCE_MISSING
    judging(world, AnyOf(other, world.root.evidence)).verify(bundle)


def test_3_unsafe_roots_make_no_verifier(world: UnsafeTrustWorld) -> None:
    """A root that no profile may use is refused before any bundle."""
    with pytest.raises(TrustRootRejected):
        NodeVerifier(replace(world.root, profile="production"))


# 4 evidence ---------------------------------------------------------------------------------


def test_4_evidence_of_another_node(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Evidence does not move to other keys, another certificate or a longer life."""
    other = NodeTls.generate(now=NOW).certificate
    for change in (
        {"hpke_public_key": b"x" * 1216},
        {"tls_certificate": other},
        {"expires_at": bundle.expires_at + 1},
        {"not_before": bundle.not_before - 1},
    ):
        moved = replace(bundle, **change)
        assert reason(world.verifier(), moved, of=EvidenceRejected) is Rejection.KEY_BINDING


def test_4_evidence_by_a_stranger(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """A key the root does not list attests nothing."""
    world.operator_key = Ed25519PrivateKey.generate()
    assert reason(world.verifier(), world.bundle(HPKE_KEY)) is Rejection.UNKNOWN_KEY


# 5 claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["software", "weights", "configuration"])
def test_5_claims_must_equal_the_release(
    world: UnsafeTrustWorld, bundle: NodeBundle, name: str
) -> None:
    """A node that attests something else than the release it shows is refused."""
    attested = replace(bundle.release, **{name: "ff" * 32})
    bound = report_data(HPKE_KEY, bundle.tls_spki_sha256, bundle.not_before, bundle.expires_at)
    evidence = UnsafeSoftwareAttester(world.operator_key, attested).attest(bound)
    lying = replace(bundle, evidence=(evidence,))
    assert reason(world.verifier(), lying, of=EvidenceRejected) is Rejection.MEASUREMENT


def test_5_claims_are_of_the_evidence_kind(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """A verifier that answers for another kind is not believed."""

    confused = Says(Claims(kind="other", measurements=measured(bundle)))
    assert reason(judging(world, One(confused)), bundle) is Rejection.KIND_NOT_ACCEPTED


def test_5_golden_values_are_all_claimed(world: UnsafeTrustWorld) -> None:
    """What the record lists for a kind must be measured, each value the same."""
    golden = {"unsafe_software": {"pcr00": "aa", "pcr01": "bb"}}
    bundle = world.bundle(HPKE_KEY, release=replace(unsafe_release(), golden=golden))
    good = {"pcr00": "aa", "pcr01": "bb", "more": "cc"}
    judging(world, One(Says(Claims(kind="unsafe_software", measurements=good)))).verify(bundle)
    for bad in ({"pcr00": "aa"}, {**good, "pcr01": "aa"}, {**good, "software": "00" * 32}, {}):
        claims = Claims(kind="unsafe_software", measurements=bad)
        assert reason(judging(world, One(Says(claims))), bundle) is Rejection.MEASUREMENT


def test_5_evidence_that_measures_nothing(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Genuine evidence of a machine says nothing of the release unless something is compared."""
    claims = Claims(kind="unsafe_software", measurements={"firmware": "aa"})
    assert reason(judging(world, One(Says(claims))), bundle) is Rejection.MEASUREMENT


# 6 checkpoint -------------------------------------------------------------------------------


def test_6_the_log_must_have_signed(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Witnesses alone do not make a checkpoint."""
    text, _, signatures = bundle.proof.checkpoint.partition(b"\n\n")
    cosignatures = b"".join(signatures.splitlines(keepends=True)[1:])
    unsigned = with_checkpoint(bundle, text + b"\n\n" + cosignatures)
    assert reason(world.verifier(), unsigned, of=LogRejected) is Rejection.UNKNOWN_KEY


def test_6_a_quorum_must_have_cosigned(world: UnsafeTrustWorld) -> None:
    """One witness of the two demanded is not enough; any two are."""
    world.append(unsafe_release().canonical())
    one = world.bundle(HPKE_KEY, checkpoint=world.checkpoint(cosigners=[1]))
    assert reason(world.verifier(), one, of=LogRejected) is Rejection.WITNESS_QUORUM
    two = world.bundle(HPKE_KEY, checkpoint=world.checkpoint(cosigners=[0, 2]))
    world.verifier().verify(two)


def test_6_one_witness_twice_is_one(world: UnsafeTrustWorld) -> None:
    """Repeating a cosignature does not fill the quorum."""
    world.append(unsafe_release().canonical())
    note = world.checkpoint(cosigners=[1])
    twice = world.bundle(HPKE_KEY, checkpoint=note + note.splitlines(keepends=True)[-1])
    assert reason(world.verifier(), twice) is Rejection.WITNESS_QUORUM


def test_6_the_checkpoint_must_be_fresh(world: UnsafeTrustWorld) -> None:
    """Cosignatures older than the root allows, or from the future, do not count."""
    world.append(unsafe_release().canonical())
    note = world.checkpoint()
    age = world.root.checkpoint_max_age_s
    world.now = NOW + age
    world.verifier().verify(world.bundle(HPKE_KEY, checkpoint=note))
    world.now = NOW + age + 1
    stale = world.bundle(HPKE_KEY, checkpoint=note)
    assert reason(world.verifier(), stale, of=LogRejected) is Rejection.STALE_CHECKPOINT
    world.now = NOW - MAX_CLOCK_SKEW_S - 1
    early = world.bundle(HPKE_KEY, checkpoint=note)
    assert reason(world.verifier(), early) is Rejection.STALE_CHECKPOINT


def test_6_freshness_is_judged_anew(world: UnsafeTrustWorld) -> None:
    """One verifier that remembers a checkpoint still refuses it once it is old."""
    verifier = world.verifier()
    bundle = world.bundle(HPKE_KEY, lifetime_s=world.root.node_max_lifetime_s)
    verifier.verify(bundle)
    world.now += world.root.checkpoint_max_age_s - 1
    verifier.verify(bundle)
    stale = replace(world.root, checkpoint_max_age_s=60)
    assert reason(world.verifier(stale), bundle) is Rejection.STALE_CHECKPOINT


def test_6_a_checkpoint_of_another_log(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """The right key under another origin is refused."""
    text = Checkpoint(origin="other", size=6, root=world.tree.root()).format()
    foreign = with_checkpoint(bundle, world.log_signer.sign(text))
    assert reason(world.verifier(), foreign, of=LogRejected) is Rejection.UNKNOWN_KEY


# 7 inclusion --------------------------------------------------------------------------------


def test_7_the_release_must_be_logged(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """A release, index or proof that is not in the log is refused."""
    secret = unsafe_release(model="secret")
    hidden = replace(bundle, release=secret)
    assert reason(world.verifier(), hidden, of=LogRejected) is Rejection.INCLUSION
    for change in ({"index": 4}, {"index": 6}, {"hashes": ()}, {"hashes": (bytes(32),) * 3}):
        moved = replace(bundle, proof=replace(bundle.proof, **change))
        assert reason(world.verifier(), moved, of=LogRejected) is Rejection.INCLUSION


def test_7_the_proof_is_for_this_checkpoint(world: UnsafeTrustWorld) -> None:
    """A proof from a later tree does not fit an earlier checkpoint."""
    early = world.checkpoint()
    late = world.bundle(HPKE_KEY)
    assert reason(world.verifier(), with_checkpoint(late, early)) is Rejection.INCLUSION


# 8 history ----------------------------------------------------------------------------------


def test_8_a_newer_checkpoint_needs_a_proof(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """From what was seen to what is shown, a consistency proof is asked for and checked."""
    verifier, seen = world.verifier(), seen_at(world, 3)
    assert verifier.consistency_needed(bundle, seen) == (3, 6)
    assert reason(verifier, bundle, seen=seen, of=LogRejected) is Rejection.CONSISTENCY
    node = verifier.verify(bundle, seen=seen, consistency=world.tree.consistency(3, 6))
    assert node.checkpoint.size == 6


def test_8_no_proof_is_needed_where_none_can_be(
    world: UnsafeTrustWorld, bundle: NodeBundle
) -> None:
    """First use, an empty log and the same checkpoint need none."""
    verifier = world.verifier()
    for seen in (None, seen_at(world, 0), seen_at(world, 6)):
        assert verifier.consistency_needed(bundle, seen) is None
        verifier.verify(bundle, seen=seen)


def test_8_a_split_view(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Another root at the size that was seen, or an earlier one that does not lead here."""
    fork = Tree(leaf_hash(b"fork %d" % i) for i in range(6))
    same = Checkpoint(origin=world.origin, size=6, root=fork.root())
    assert reason(world.verifier(), bundle, seen=same, of=LogRejected) is Rejection.SPLIT_VIEW
    before = Checkpoint(origin=world.origin, size=3, root=fork.root(3))
    for proof in (fork.consistency(3, 6), world.tree.consistency(3, 6)):
        assert (
            reason(world.verifier(), bundle, seen=before, consistency=proof)
            is Rejection.CONSISTENCY
        )


def test_8_a_rollback(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """A smaller tree is refused unless it is proven to be a prefix of the one seen."""
    for number in range(4):
        world.append(b"newer %d" % number)
    verifier, seen = world.verifier(), seen_at(world, 10)
    assert verifier.consistency_needed(bundle, seen) == (6, 10)
    assert reason(verifier, bundle, seen=seen, of=LogRejected) is Rejection.ROLLBACK
    fork = replace(seen, root=bytes(32))
    proof = world.tree.consistency(6, 10)
    assert reason(verifier, bundle, seen=fork, consistency=proof) is Rejection.ROLLBACK
    assert verifier.verify(bundle, seen=seen, consistency=proof).checkpoint.size == 6


def test_8_the_stored_checkpoint_is_of_this_log(
    world: UnsafeTrustWorld, bundle: NodeBundle
) -> None:
    """What was stored of another log proves nothing here."""
    foreign = replace(seen_at(world, 6), origin="other")
    assert reason(world.verifier(), bundle, seen=foreign, of=LogRejected) is Rejection.UNKNOWN_KEY


# the verified type --------------------------------------------------------------------------


def test_nobody_else_builds_a_verified_node(world: UnsafeTrustWorld, bundle: NodeBundle) -> None:
    """Constructing, replacing, copying and pickling all fail."""
    node = world.verifier().verify(bundle)
    values = {field.name: getattr(node, field.name) for field in fields(node)}
    with pytest.raises(TypeError):
        VerifiedNode(**values)
    with pytest.raises(TypeError):
        VerifiedNode(**values, built_by=object())
    with pytest.raises(TypeError):
        replace(node, measurement="ff" * 32)
    with pytest.raises(TypeError):
        copy.copy(node)
    with pytest.raises(TypeError):
        pickle.dumps(node)


def test_many_checkpoints_do_not_pile_up(world: UnsafeTrustWorld) -> None:
    """The memory of opened checkpoints is bounded and never changes a verdict."""
    verifier = world.verifier()
    bundles = []
    for number in range(40):
        world.append(b"more %d" % number)
        bundles.append(world.bundle(HPKE_KEY))
        verifier.verify(bundles[-1])
    assert verifier.verify(bundles[0]).checkpoint.size == 7
    assert len(verifier._log._checkpoints._opened) <= 32


def with_checkpoint(bundle: NodeBundle, note: bytes) -> NodeBundle:
    return replace(bundle, proof=replace(bundle.proof, checkpoint=note))
