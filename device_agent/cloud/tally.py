"""What a user should see of a cluster over time, in one small file: tokens lost, nodes shown.

Two counts and a time, nothing of any request. They outlive the process because `lanai available`
is a new one each time, and a relay that loses tokens or hides nodes does it a little at a time.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from lanai.errors import StoreError
from lanai.folders import Folders
from trust.private_files import locked, read_private, replace_private
from trust.root import TrustRoot

__all__ = ["Counts", "Tally", "tally_path"]

SCHEMA: Final = "lanai.tally/1"
MAX_BYTES: Final = 4096
REMEMBER_S: Final = 7 * 24 * 3600
"""A cluster that was made smaller on purpose is not held against it for longer."""
_LARGEST: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """``most_nodes`` were verified in one roster at ``most_at`` (unix seconds)."""

    tokens_lost: int = 0
    most_nodes: int = 0
    most_at: int = 0


def tally_path(folders: Folders) -> Path:
    """Where this user's tally is."""
    return folders.state / "tally.json"


class Tally:
    """The counts of one cluster. Methods block for a few ms: call them in a thread."""

    __slots__ = ("_cluster", "_path")

    def __init__(self, path: Path, *, cluster: str | None) -> None:
        """``cluster`` names the one the counts are of; None reads those of any."""
        self._path = path
        self._cluster = cluster

    @classmethod
    def of(cls, root: TrustRoot, path: Path) -> "Tally":
        """The tally of the cluster this trust root is for: the one with this log."""
        return cls(path, cluster=sha256(f"{root.log_origin}\n{root.log_key}".encode()).hexdigest())

    def counts(self) -> Counts:
        """The counts so far. Raises ``StoreError``, also for a damaged file."""
        data = read_private(self._path, limit=MAX_BYTES)
        if data is None:
            return Counts()
        try:
            values = json.loads(data)
            known = values.pop("schema") == SCHEMA
            cluster = values.pop("cluster")
            counts = Counts(**values)
            sound = all(0 <= value < _LARGEST for value in asdict(counts).values())
        except (ValueError, KeyError, AttributeError, TypeError):
            raise self._damaged() from None
        if not known or not sound:
            raise self._damaged()
        return counts if self._cluster in (None, cluster) else Counts()

    def lost(self, number: int = 1) -> None:
        """Count tokens that were taken from the wallet and brought no answer. Raises nothing.

        It is called while something else has failed, which is what the user must hear of.
        """
        with suppress(StoreError), locked(self._path):
            counts = self.counts()
            self._write(replace(counts, tokens_lost=counts.tokens_lost + number))

    def saw(self, nodes: int, *, now: float) -> None:
        """Remember the largest roster of the last days. Raises ``StoreError``."""
        with locked(self._path):
            counts = self.counts()
            if nodes >= counts.most_nodes or now - counts.most_at > REMEMBER_S:
                self._write(replace(counts, most_nodes=nodes, most_at=int(now)))

    def _write(self, counts: Counts) -> None:
        values = {"schema": SCHEMA, "cluster": self._cluster, **asdict(counts)}
        replace_private(self._path, json.dumps(values).encode())

    def _damaged(self) -> StoreError:
        return StoreError(f"the counts in {self._path} are damaged", hint="remove the file")
