"""The trust root: signed, served as static files, through gateway and relay, verified."""

from dataclasses import replace

import pytest

from cloud_node.gateway.files import HttpFiles
from cloud_node.static_files import StaticServer
from cloud_node.trust_repository import TrustRepository
from device_agent.cloud.relay_files import RelayFiles
from lanai.errors import Rejection, TrustRootRejected
from protos.lanai.v1alpha.gateway_pb2 import KeysRequest, Opaque
from trust.updates import FolderSource, TrustRootStore


class Wire:
    """What `RelayFiles` uses of a transport, over the relay's real port."""

    def __init__(self, serving) -> None:
        self.relay = serving.relay
        self.carried = b""

    async def keys(self) -> bytes:
        return (await self.relay.Keys(KeysRequest())).SerializeToString()

    async def fetch(self, payload: bytes) -> bytes:
        self.carried += payload
        return (await self.relay.Fetch(Opaque(payload=payload))).payload


@pytest.fixture
async def published(serving, tmp_path):
    """The repository, its tree, served to the gateway over HTTP."""
    public = tmp_path / "public"
    repository = TrustRepository(public / "tuf", tmp_path / "trust-keys")
    repository.publish(serving.world.root)
    static = await StaticServer.start(public, host="127.0.0.1", port=0)
    files = HttpFiles(static.url)
    serving.service._files = files
    yield repository, public / "tuf"
    await files.close()
    await static.close()


async def test_an_update_over_the_wire(serving, published, tmp_path) -> None:
    """Rotated and changed: a device that knows the first root gets there, and nobody saw paths."""
    repository, tree = published
    root = serving.world.root
    store = TrustRootStore(tmp_path / "device")
    await store.enrol((tree / "1.root.json").read_bytes(), FolderSource(tree))
    wire = Wire(serving)
    assert await store.update(RelayFiles(wire)) == root
    repository.rotate(["root", "targets", "snapshot", "timestamp"])
    changed = replace(root, checkpoint_max_age_s=root.checkpoint_max_age_s + 1)
    repository.publish(changed)
    assert await store.update(RelayFiles(wire)) == changed
    assert b"json" not in wire.carried


async def test_a_lie_on_the_origin(serving, published, tmp_path) -> None:
    """A static server that serves older files is seen by the device, through every party."""
    repository, tree = published
    old = (tree / "timestamp.json").read_bytes()
    repository.refresh()
    store = TrustRootStore(tmp_path / "device")
    await store.enrol((tree / "1.root.json").read_bytes(), FolderSource(tree))
    (tree / "timestamp.json").write_bytes(old)
    with pytest.raises(TrustRootRejected) as caught:
        await store.update(RelayFiles(Wire(serving)))
    assert caught.value.reason is Rejection.ROLLBACK
