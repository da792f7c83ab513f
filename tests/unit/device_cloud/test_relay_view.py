"""What commands read through the relay: sealed as a request is, and unverified."""

from pathlib import Path

import pytest

from device_agent.relay_view import RelayView
from device_agent.testing import InMemoryCloud
from lanai.errors import CloudUnavailable


@pytest.fixture
def view(cloud: InMemoryCloud, tmp_path: Path):
    with RelayView(cloud.root, tmp_path / "checkpoints", transport=cloud) as view:
        yield view


def test_bundles_come_by_node_id(cloud: InMemoryCloud, view: RelayView) -> None:
    """Every node the gateway shows, in an order that does not depend on it."""
    shown = [bundle.node_id for bundle in view.bundles()]
    assert shown == sorted(node.key.node_id for node in cloud.nodes)
    assert all(node_id not in b"".join(cloud.relayed) for node_id in shown)


def test_a_consistency_proof_verifies_where_it_is_used(
    cloud: InMemoryCloud, view: RelayView
) -> None:
    """The log's proof between two sizes comes as the log made it."""
    cloud.world.append(b"more")
    cloud.world.append(b"and more")
    size = cloud.world.tree.size
    assert view.consistency(1, size) == cloud.world.tree.consistency(1, size)


def test_without_a_relay_nothing_is_read(cloud: InMemoryCloud, view: RelayView) -> None:
    """An unreachable relay is said, not waited for."""
    cloud.script.unreachable = True
    with pytest.raises(CloudUnavailable):
        view.bundles()
