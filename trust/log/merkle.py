"""RFC 6962 Merkle tree with SHA-256: hashes, a growing tree, proofs and their verification.

Verification follows RFC 9162 sections 2.1.3.2 and 2.1.4.2. Sizes stay below 2**63, so no proof has
more than 63 hashes; longer ones are refused before any hashing.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from lanai.errors import LogRejected, Rejection

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "MAX_PROOF",
    "MAX_SIZE",
    "Tree",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
MAX_PROOF = 63
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf's content (32 bytes); never equal to a node's."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (32 bytes)."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows. Complete subtrees are kept, so roots and proofs cost O(log n)."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        # _levels[k][i] is the hash of the complete subtree over leaves i * 2**k .. (i + 1) * 2**k.
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaf_hashes:
            self.append(leaf)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Add a leaf by its *hash* (see `leaf_hash`); return its index."""
        if len(leaf) != HASH_BYTES:
            raise _refused("a leaf hash has 32 bytes", Rejection.MALFORMED)
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            if len(self._levels) == level + 1:
                self._levels.append([])
            left, right = self._levels[level][-2:]
            self._levels[level + 1].append(node_hash(left, right))
            level += 1
        return self.size - 1

    def complete(self, level: int, index: int) -> bytes:
        """Hash of the complete subtree number ``index`` of ``2**level`` leaves."""
        if not 0 <= level < len(self._levels) or not 0 <= index < len(self._levels[level]):
            raise _refused("no such subtree yet", Rejection.MALFORMED)
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Root over the first ``size`` leaves (all when None)."""
        size = self._checked(self.size if size is None else size)
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that leaf ``index`` is in the tree of ``size`` leaves, from the leaf upwards."""
        size = self._checked(self.size if size is None else size)
        if not 0 <= index < size:
            raise _refused("no such leaf in a tree of this size", Rejection.INCLUSION)
        start, end, path = 0, size, list[bytes]()
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Proof that the tree of ``old`` leaves is a prefix of the one of ``new``; empty for 0."""
        new = self._checked(self.size if new is None else new)
        if not 0 <= old <= new:
            raise _refused("the old size is above the new", Rejection.CONSISTENCY)
        if old in (0, new):
            return ()
        start, end, path, whole = 0, new, list[bytes](), True
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start, whole = middle, False
        # The verifier knows the old root; only a part of it has to be told.
        return tuple(reversed(path)) if whole else (self._subtree(start, end), *reversed(path))

    def _subtree(self, start: int, end: int) -> bytes:
        """Hash over leaves ``start..end``; ``start`` is a multiple of the largest power below."""
        parts = []
        while start < end:
            level = (end - start).bit_length() - 1
            parts.append(self._levels[level][start >> level])
            start += 1 << level
        result = parts.pop()
        while parts:
            result = node_hash(parts.pop(), result)
        return result

    def _checked(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise _refused("the tree is smaller than that", Rejection.MALFORMED)
        return size


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that ``leaf`` (a leaf *hash*) is number ``index`` under ``root``.

    Raises ``LogRejected`` (``inclusion``).
    """
    if not 0 <= index < size <= MAX_SIZE or not _well_formed(proof, leaf, root):
        raise _refused("the inclusion proof has the wrong shape", Rejection.INCLUSION)
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _refused("the inclusion proof is too long", Rejection.INCLUSION)
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            position, last = _climb(position, last, odd=False)
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or computed != root:
        raise _refused("the leaf is not under this root", Rejection.INCLUSION)


def verify_consistency(
    old: int, new: int, *, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree ``old_root`` of ``old`` leaves is a prefix of ``new_root``'s.

    An empty old tree proves nothing and is refused: the caller decides on first use. Raises
    ``LogRejected`` (``consistency``).
    """
    if not 0 < old <= new <= MAX_SIZE:
        raise _refused("the sizes are out of order", Rejection.CONSISTENCY)
    if old == new:
        if proof or old_root != new_root:
            raise _refused("two roots for one size", Rejection.CONSISTENCY)
        return
    if not _well_formed(proof, old_root, new_root):
        raise _refused("the consistency proof has the wrong shape", Rejection.CONSISTENCY)
    # A complete old tree is a node of the new one: its root is the first hash, and not sent.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise _refused("the consistency proof is empty", Rejection.CONSISTENCY)
    if _roots_from(path, old, new) != (old_root, new_root):
        raise _refused("the trees are not consistent", Rejection.CONSISTENCY)


def _roots_from(path: Sequence[bytes], old: int, new: int) -> tuple[bytes, bytes]:
    """Old and new root that ``path`` leads to (RFC 9162 section 2.1.4.2)."""
    position, last = _climb(old - 1, new - 1, odd=True)
    old_root = new_root = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _refused("the consistency proof is too long", Rejection.CONSISTENCY)
        if position & 1 or position == last:
            old_root = node_hash(sibling, old_root)
            new_root = node_hash(sibling, new_root)
            position, last = _climb(position, last, odd=False)
        else:
            new_root = node_hash(new_root, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise _refused("the consistency proof is too short", Rejection.CONSISTENCY)
    return old_root, new_root


def _climb(position: int, last: int, *, odd: bool) -> tuple[int, int]:
    """Go up while ``position`` is an odd (or an even) number; both lose one bit a step."""
    while position and bool(position & 1) is odd:
        position, last = position >> 1, last >> 1
    return position, last


def _well_formed(proof: Sequence[bytes], *roots: bytes) -> bool:
    return len(proof) <= MAX_PROOF and all(len(item) == HASH_BYTES for item in (*proof, *roots))


def _split(size: int) -> int:
    """The largest power of two below ``size`` (RFC 6962 section 2.1)."""
    return 1 << (size - 1).bit_length() - 1


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(message, reason=reason)
