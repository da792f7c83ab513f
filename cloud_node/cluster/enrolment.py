"""Enrols the device of this user in a local cluster, and takes it back.

Another enrolment is never overwritten while its cluster may still be used: that would move the
device to other trust without anybody saying so.
"""

from collections.abc import Iterable
from pathlib import Path

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessTable, is_alive, write_private

__all__ = ["enrol", "enrolled_here", "withdraw"]


def enrol(layout: ClusterLayout, others: Iterable[ClusterLayout]) -> bool:
    """Give the device this cluster's trust root and account; False when it is enrolled elsewhere.

    The enrolment of a local cluster that no longer runs is replaced.
    """
    standing = _read(_root(layout))
    if standing is not None and not _replaceable(standing, layout, others):
        return False
    # The account first: a root without its account would be an enrolment that cannot pay.
    write_private(layout.state / "account.json", layout.account.read_text(encoding="utf-8"))
    write_private(_root(layout), layout.trust_root.read_text(encoding="utf-8"))
    return True


def withdraw(layout: ClusterLayout) -> None:
    """Remove the device's enrolment if it is this cluster's."""
    if enrolled_here(layout):
        _root(layout).unlink(missing_ok=True)
        (layout.state / "account.json").unlink(missing_ok=True)


def enrolled_here(layout: ClusterLayout) -> bool:
    """Whether the device uses this cluster."""
    mine = _read(layout.trust_root)
    return mine is not None and mine == _read(_root(layout))


def _replaceable(standing: bytes, layout: ClusterLayout, others: Iterable[ClusterLayout]) -> bool:
    for other in others:
        if standing == _read(other.trust_root):
            return other.name == layout.name or not _runs(other)
    return False


def _runs(layout: ClusterLayout) -> bool:
    return any(is_alive(entry) for entry in ProcessTable(layout.processes).entries())


def _root(layout: ClusterLayout) -> Path:
    return layout.state / "trust-root.json"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
