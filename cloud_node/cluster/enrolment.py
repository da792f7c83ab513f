"""Enrols the device of this user in a local cluster, and takes it back.

Another enrolment is never overwritten while its cluster may still be used: that would move the
device to other trust without anybody saying so. An enrolment is known by the root metadata that
was pinned: the cluster that published it.
"""

from collections.abc import Iterable
from pathlib import Path

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessTable, is_alive, write_private
from cloud_node.cluster.trust import published_roots, trust_tree
from lanai.errors import ConfigError, StoreError
from trust.updates import FolderSource, TrustRootStore

__all__ = ["enrol", "enrolled_here", "withdraw"]


async def enrol(layout: ClusterLayout, others: Iterable[ClusterLayout]) -> bool:
    """Give the device this cluster's trust root and account; False when it is enrolled elsewhere.

    The enrolment of a local cluster that no longer runs is replaced. Raises ``TrustRootRejected``
    when what the cluster published does not verify, ``ConfigError`` when that is nothing.
    """
    store = TrustRootStore.of(layout.state)
    standing = store.state()
    if standing is not None and not _replaceable(standing.pinned, layout, others):
        return False
    roots = published_roots(layout)
    if not roots:
        raise ConfigError(f"the cluster {layout.name} published no trust root")
    # The account first: a root without its account would be an enrolment that cannot pay.
    write_private(_account(layout), layout.account.read_text(encoding="utf-8"))
    await store.enrol(roots[-1], FolderSource(trust_tree(layout)))
    return True


def withdraw(layout: ClusterLayout) -> None:
    """Remove the device's enrolment if it is this cluster's."""
    if enrolled_here(layout):
        TrustRootStore.of(layout.state).forget()
        _account(layout).unlink(missing_ok=True)


def enrolled_here(layout: ClusterLayout) -> bool:
    """Whether the device uses this cluster. A damaged enrolment is nobody's to remove."""
    try:
        standing = TrustRootStore.of(layout.state).state()
    except StoreError:
        return False
    return standing is not None and standing.pinned in published_roots(layout)


def _replaceable(pinned: bytes, layout: ClusterLayout, others: Iterable[ClusterLayout]) -> bool:
    for other in others:
        if pinned in published_roots(other):
            return other.name == layout.name or not _runs(other)
    return False


def _runs(layout: ClusterLayout) -> bool:
    return any(is_alive(entry) for entry in ProcessTable(layout.processes).entries())


def _account(layout: ClusterLayout) -> Path:
    return layout.state / "account.json"
