"""What each piece of a node is left, by its configuration."""

from pathlib import Path
from typing import Any

import pytest

from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tree.confinements import (
    front_confinement,
    keyholder_confinement,
    worker_confinement,
    zygote_confinement,
)
from inference.confining import engine_confinement

RESOLVER = Path("/etc/resolv.conf")


def config(**changes: Any) -> NodeConfig:
    values: dict[str, Any] = {
        "name": "node-0",
        "profile": "development",
        "store_url": "rediss://node:word@10.0.0.7:7000?ssl_ca_certs=/etc/lanai/store.pem",
        "log": PinnedEndpoint(address="10.0.0.8:443", certificate=""),
        "model_folder": "/models/tiny",
        "model_name": "tiny",
        "context_tokens": 64,
        "threads": 1,
        "evidence": EvidenceConfig(unsafe_software_key=Path("/keys/software.pem")),
    }
    return NodeConfig(**(values | changes))


def test_a_front_reaches_the_store_and_the_log() -> None:
    """Two ports, the store's own certificate, no datagram: both are known by address."""
    front = front_confinement(config())
    assert front.tcp_connect == {443, 7000}
    assert Path("/etc/lanai/store.pem") in front.read
    assert RESOLVER not in front.read
    assert (front.tcp_bind, front.unix_sockets, front.datagrams) == (True, False, False)


def test_a_store_in_a_file_takes_a_unix_socket_and_no_port() -> None:
    """The embedded store."""
    front = front_confinement(config(store_url="unix://node:word@%2Frun%2Fs.sock"))
    assert front.unix_sockets
    assert front.tcp_connect == {443}


@pytest.mark.parametrize(
    "changes",
    [
        {"store_url": "rediss://node:word@store.example"},
        {"log": PinnedEndpoint(address="log.example:443", certificate="")},
    ],
)
def test_a_host_with_a_name_takes_a_resolver(changes: dict[str, Any]) -> None:
    """A resolver's files and datagrams, only where a name has to be resolved."""
    front = front_confinement(config(**changes))
    assert front.datagrams
    assert RESOLVER in front.read


def test_a_keyholder_without_a_tpm_has_no_socket() -> None:
    """Software evidence, or a processor's own, needs nobody; its key file is read before."""
    keyholder = keyholder_confinement(config())
    assert not keyholder.sockets
    assert keyholder.write == ()
    assert not any(str(path).startswith("/keys") for path in keyholder.read)


def test_a_zygote_forks_and_its_worker_does_not() -> None:
    """Neither has a socket or a second thread; a worker's view has nothing that changes."""
    zygote, worker = zygote_confinement(), worker_confinement()
    assert (zygote.fork, worker.fork) == (True, False)
    for piece in (zygote, worker):
        assert not any((piece.sockets, piece.threads, piece.execute, piece.write))


def test_an_engine_sees_what_its_folder_links_to(tmp_path: Path) -> None:
    """A folder of links, as the Hugging Face cache keeps models, is followed one step."""
    blob, folder = tmp_path / "blobs" / "b", tmp_path / "model"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(blob)
    engine = engine_confinement(folder)
    assert {folder, blob} <= set(engine.read)
    assert not any((engine.sockets, engine.fork, engine.execute))
