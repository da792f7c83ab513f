"""The growing tree and its proofs."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import LogRejected
from trust.log.merkle import (
    EMPTY_ROOT,
    MAX_PROOF,
    Tree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % number) for number in range(70)]
TREE = Tree(LEAVES)


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = reference_root(leaves[:split]), reference_root(leaves[split:])
    return sha256(b"\x01" + left + right).digest()


def test_roots_are_those_of_the_definition() -> None:
    """Every root, also of earlier sizes, is what the recursive definition gives."""
    assert Tree().root() == EMPTY_ROOT
    for size in range(len(LEAVES) + 1):
        assert TREE.root(size) == reference_root(LEAVES[:size])


def test_every_proof_verifies() -> None:
    """Proofs for all leaves and all pairs of sizes verify."""
    for size in range(1, len(LEAVES) + 1):
        root = TREE.root(size)
        for index in range(size):
            proof = TREE.inclusion(index, size)
            verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=root)
        for old in range(1, size + 1):
            proof = TREE.consistency(old, size)
            verify_consistency(old, size, old_root=TREE.root(old), new_root=root, proof=proof)


@settings(deadline=None)
@given(st.integers(1, 70), st.data())
def test_a_proof_is_for_one_leaf_and_one_tree(size: int, data: st.DataObject) -> None:
    """Another index, size, leaf or a changed hash is refused."""
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, 69).filter(lambda i: i != index))
    proof, root = TREE.inclusion(index, size), TREE.root(size)
    with pytest.raises(LogRejected):
        verify_inclusion(LEAVES[other], index=index, size=size, proof=proof, root=root)
    with pytest.raises(LogRejected):
        verify_inclusion(LEAVES[index], index=other, size=size, proof=proof, root=root)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:place], bytes(32), *proof[place + 1 :]]
        with pytest.raises(LogRejected):
            verify_inclusion(LEAVES[index], index=index, size=size, proof=changed, root=root)


def test_a_rewritten_history_is_not_consistent() -> None:
    """No proof of ours makes a tree with one changed old leaf follow the old root."""
    forked = Tree([leaf_hash(b"other"), *LEAVES[1:]])
    for old in range(1, 60):
        with pytest.raises(LogRejected):
            verify_consistency(
                old,
                60,
                old_root=TREE.root(old),
                new_root=forked.root(60),
                proof=forked.consistency(old, 60),
            )


def test_a_proof_ends_at_the_root() -> None:
    """A hash too many is refused, even where it leads to the root that is asked for."""
    extra = bytes(32)
    with pytest.raises(LogRejected, match="too long"):
        verify_inclusion(
            LEAVES[0], index=0, size=1, proof=[extra], root=node_hash(extra, LEAVES[0])
        )


def test_long_proofs_are_refused_unread() -> None:
    """A proof of more hashes than any tree has is refused by its length."""
    with pytest.raises(LogRejected, match="shape"):
        verify_inclusion(
            LEAVES[0], index=0, size=2**62, proof=[bytes(32)] * (MAX_PROOF + 1), root=bytes(32)
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda: TREE.append(b"short"),
        lambda: TREE.root(71),
        lambda: TREE.root(-1),
        lambda: TREE.inclusion(5, 5),
        lambda: TREE.inclusion(-1),
        lambda: TREE.consistency(6, 5),
        lambda: TREE.complete(0, 70),
        lambda: TREE.complete(9, 0),
        lambda: TREE.complete(-1, 0),
    ],
)
def test_what_is_not_there_is_refused(call: object) -> None:
    """Sizes, leaves and subtrees outside the tree are refused, not guessed."""
    with pytest.raises(LogRejected):
        call()  # type: ignore[operator]
