"""The trust root of a local cluster as TUF metadata: where it is, published, rotated.

Importing this is light; ``tuf`` is loaded when something is signed.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import share_trust
from trust.root import TrustRoot

if TYPE_CHECKING:
    from cloud_node.trust_repository import TrustRepository

__all__ = [
    "publish_trust",
    "published_roots",
    "refresh_trust",
    "rotate_trust",
    "trust_keys",
    "trust_tree",
]


def trust_tree(layout: ClusterLayout) -> Path:
    """The folder of the public tree that devices update from."""
    return layout.public / "tuf"


def trust_keys(layout: ClusterLayout) -> Path:
    """The private keys: all of them, since a development cluster has one operator."""
    return layout.key("trust")


def publish_trust(layout: ClusterLayout) -> None:
    """Make the cluster's trust root what devices update to. Blocks; use a thread."""
    root = TrustRoot.from_json(layout.trust_root.read_text(encoding="ascii"))
    _repository(layout).publish(root)
    share_trust(layout, Isolation.of(layout))


def rotate_trust(layout: ClusterLayout, roles: Collection[str]) -> int:
    """New keys for ``roles``; returns the root's new version. Blocks; use a thread.

    The cluster need not run: devices see it when its files are served again. Raises
    ``ConfigError`` when nothing was published yet or keys are not here.
    """
    try:
        return _repository(layout).rotate(roles)
    finally:
        share_trust(layout, Isolation.of(layout))


def refresh_trust(layout: ClusterLayout) -> None:
    """Sign anew what only the operator's keys can sign, where half of its life is over. Blocks."""
    _repository(layout).refresh()
    share_trust(layout, Isolation.of(layout))


def published_roots(layout: ClusterLayout) -> tuple[bytes, ...]:
    """Every root metadata this cluster published, the newest last."""
    paths = [path for path in trust_tree(layout).glob("*.root.json") if path.name[0].isdecimal()]
    return tuple(p.read_bytes() for p in sorted(paths, key=lambda p: int(p.name.split(".")[0])))


def _repository(layout: ClusterLayout) -> "TrustRepository":
    from cloud_node.trust_repository import TrustRepository

    return TrustRepository(trust_tree(layout), trust_keys(layout))
