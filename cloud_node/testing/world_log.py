"""The log of an ``UnsafeTrustWorld`` as the parties of a cloud read it."""

from collections.abc import Sequence

from lanai.errors import CloudUnavailable
from trust.bundle import LogProof
from trust.log.merkle import leaf_hash
from trust.testing import UnsafeTrustWorld

__all__ = ["WorldLog"]


class WorldLog:
    """``LogView`` of a gateway and ``ProofSource`` of a node. Leaves are added by ``append``."""

    def __init__(self, world: UnsafeTrustWorld) -> None:
        self._world = world
        self._leaves: list[bytes] = []
        self.gone = False
        """Set by a test: every question then fails as a log that is gone does."""

    def append(self, leaf: bytes) -> None:
        """Add a leaf, once; the next proof is under a checkpoint that has it."""
        if leaf not in self._leaves:
            self._leaves.append(leaf)
            self._world.append(leaf)

    async def inclusion(self, hash_of_leaf: bytes) -> LogProof:
        self._answer()
        for leaf in self._leaves:
            if leaf_hash(leaf) == hash_of_leaf:
                index = self._world.append(leaf)
                hashes = self._world.tree.inclusion(index)
                return LogProof(index=index, hashes=hashes, checkpoint=self._world.checkpoint())
        raise CloudUnavailable("no such leaf")

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        self._answer()
        return self._world.tree.consistency(old_size, new_size)

    async def entries(self, start: int, count: int) -> Sequence[bytes]:
        self._answer()
        return self._leaves[start : start + count]

    async def close(self) -> None:
        """Nothing to give up."""

    def _answer(self) -> None:
        if self.gone:
            raise CloudUnavailable("no log")
