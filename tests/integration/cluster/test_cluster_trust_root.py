"""The trust root of a running cluster: the device it enrolled, and an update through its relay."""

import json

from cloud_node.cluster.trust import rotate_trust
from device_agent.cloud.relay_files import relay_files
from trust.updates import TrustRootStore


async def test_a_rotation_reaches_the_enrolled_device(cluster) -> None:
    """`up` enrolled this user's device; all keys replaced, it follows through relay and gateway."""
    store = TrustRootStore.of(cluster.layout.state)
    assert store.current() == cluster.root
    pinned = store.state().pinned
    version = rotate_trust(cluster.layout, ["root", "targets", "snapshot", "timestamp"])
    async with relay_files(cluster.root) as files:
        assert await store.update(files) == cluster.root
    state = store.state()
    assert json.loads(state.root)["signed"]["version"] == version
    assert state.pinned == pinned
    events = cluster.layout.log("log").read_text()
    assert '"failed"' not in events
