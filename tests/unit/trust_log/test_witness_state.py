"""What a witness refuses, and that it remembers before it signs."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import LogRejected, Rejection, StoreError, WitnessConflict
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import Tree, leaf_hash
from trust.log.notes import NoteSigner, open_note
from trust.log.witness import WitnessState

LOG = NoteSigner("log.invalid", Ed25519PrivateKey.generate())
SIGNER = NoteSigner.cosigner("witness.invalid", Ed25519PrivateKey.generate())
LOGS = {"log.invalid": LOG.verifier}
TREE = Tree(leaf_hash(b"%d" % i) for i in range(20))
FORK = Tree(leaf_hash(b"fork %d" % i) for i in range(20))


def note(tree: Tree, size: int, *, signer: NoteSigner = LOG, origin: str = "log.invalid") -> bytes:
    return signer.sign(Checkpoint(origin=origin, size=size, root=tree.root(size)).format())


@pytest.fixture
def states() -> list[str]:
    return []


@pytest.fixture
def witness(states: list[str]) -> WitnessState:
    """A witness that cosigned eight leaves."""
    state = WitnessState(SIGNER, LOGS, persist=states.append)
    state.add_checkpoint(0, (), note(TREE, 8), 100)
    return state


def refusal(witness: WitnessState, *arguments: object) -> LogRejected:
    before = witness.to_json()
    with pytest.raises(LogRejected) as caught:
        witness.add_checkpoint(*arguments)  # type: ignore[arg-type]
    assert witness.to_json() == before
    return caught.value


def test_it_cosigns_what_continues(witness: WitnessState) -> None:
    """A consistent larger checkpoint is cosigned with the time given, and remembered."""
    grown = note(TREE, 13)
    line = witness.add_checkpoint(8, TREE.consistency(8, 13), grown, 200)
    opened = open_note(grown + line, [LOG.verifier, SIGNER.verifier])
    assert opened.signers["witness.invalid"] == 200
    assert witness.latest("log.invalid").size == 13


def test_it_cosigns_the_same_tree_again(witness: WitnessState) -> None:
    """The same checkpoint gets a fresh cosignature: that is how a quiet log stays fresh."""
    again = note(TREE, 8)
    line = witness.add_checkpoint(8, (), again, 300)
    assert open_note(again + line, [SIGNER.verifier]).signers == {"witness.invalid": 300}


def test_it_refuses_a_rollback(witness: WitnessState) -> None:
    """A smaller tree is refused, whether the old size is honest or lowered."""
    assert refusal(witness, 8, (), note(TREE, 5), 200).reason is Rejection.ROLLBACK
    lowered = refusal(witness, 5, (), note(TREE, 5), 200)
    assert isinstance(lowered, WitnessConflict)


def test_a_conflict_says_the_size(witness: WitnessState) -> None:
    """A wrong old size is told the right one."""
    for old in (0, 7, 9):
        conflict = refusal(witness, old, (), note(TREE, 13), 200)
        assert isinstance(conflict, WitnessConflict)
        assert conflict.size == 8


def test_it_refuses_a_fork(witness: WitnessState) -> None:
    """Another tree is refused, at a larger and at the same size."""
    proof = FORK.consistency(8, 13)
    assert refusal(witness, 8, proof, note(FORK, 13), 200).reason is Rejection.CONSISTENCY
    assert refusal(witness, 8, (), note(FORK, 8), 200).reason is Rejection.SPLIT_VIEW


def test_it_refuses_a_proof_where_none_can_be() -> None:
    """From nothing, there is nothing to prove; an empty tree has one root."""
    fresh = WitnessState(SIGNER, LOGS, persist=lambda state: None)
    assert refusal(fresh, 0, [bytes(32)], note(TREE, 8), 1).reason is Rejection.CONSISTENCY
    text = Checkpoint(origin="log.invalid", size=0, root=bytes(32)).format()
    assert refusal(fresh, 0, (), LOG.sign(text), 1).reason is Rejection.CONSISTENCY


def test_it_refuses_unknown_logs_and_keys(witness: WitnessState) -> None:
    """Neither another origin nor another key of a known origin is cosigned."""
    stranger = NoteSigner("log.invalid", Ed25519PrivateKey.generate())
    elsewhere = note(TREE, 8, origin="elsewhere.invalid")
    assert refusal(witness, 8, (), elsewhere, 1).reason is Rejection.UNKNOWN_KEY
    assert (
        refusal(witness, 8, (), note(TREE, 8, signer=stranger), 1).reason is Rejection.UNKNOWN_KEY
    )


def test_nothing_is_signed_that_was_not_stored(witness: WitnessState) -> None:
    """When storing fails, no cosignature leaves and the memory is as before."""

    def broken(state: str) -> None:
        raise StoreError("disk full")

    witness._persist = broken
    before = witness.to_json()
    with pytest.raises(StoreError):
        witness.add_checkpoint(8, TREE.consistency(8, 13), note(TREE, 13), 200)
    assert witness.to_json() == before


def test_the_state_is_stored_before_signing(states: list[str]) -> None:
    """At the time of the signature the stored state already holds the new tree."""
    stored_sizes = []

    class Watched(NoteSigner):
        def line(self, text: str, *, now: int | None = None) -> str:
            stored_sizes.append(json.loads(states[-1])["logs"][0]["size"])
            return super().line(text, now=now)

    key = Ed25519PrivateKey.generate()
    signer = Watched("witness.invalid", key, kind=SIGNER.verifier.kind)
    WitnessState(signer, LOGS, persist=states.append).add_checkpoint(0, (), note(TREE, 8), 1)
    assert stored_sizes == [8]


def test_a_restart_remembers(witness: WitnessState) -> None:
    """A witness read back refuses what the first one refused."""
    again = WitnessState.from_json(witness.to_json(), SIGNER, LOGS, persist=lambda state: None)
    assert again.to_json() == witness.to_json()
    assert isinstance(refusal(again, 0, (), note(FORK, 8), 1), WitnessConflict)


def test_a_state_belongs_to_its_key(witness: WitnessState) -> None:
    """A witness with a new key does not take over an old memory."""
    other = NoteSigner.cosigner("witness.invalid", Ed25519PrivateKey.generate())
    with pytest.raises(LogRejected):
        WitnessState.from_json(witness.to_json(), other, LOGS, persist=lambda state: None)


def test_a_log_key_cannot_witness() -> None:
    """A signer without times is no witness's."""
    with pytest.raises(LogRejected):
        WitnessState(LOG, LOGS, persist=lambda state: None)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_damaged_states_are_refused(text: str) -> None:
    """Any other text is refused with a log error."""
    with pytest.raises(LogRejected):
        WitnessState.from_json(text, SIGNER, LOGS, persist=lambda state: None)


@settings(deadline=None)
@given(st.integers(-(2**65), 2**65), st.lists(st.binary(max_size=40), max_size=70), st.binary())
def test_only_log_errors_come_out(old_size: int, proof: list[bytes], data: bytes) -> None:
    """Arbitrary requests are refused with a log error."""
    fresh = WitnessState(SIGNER, LOGS, persist=lambda state: None)
    fresh.add_checkpoint(0, (), note(TREE, 8), 1)
    for sent in (data, note(TREE, 13), note(FORK, 8)):
        with pytest.raises(LogRejected):
            fresh.add_checkpoint(old_size, proof, sent, 1)
