"""Users of their own: which numbers, what they could read, what becomes theirs."""

import json
import os
from pathlib import Path

import pytest

from cloud_node.cluster import isolation as isolation_module
from cloud_node.cluster.isolation import Isolation, decide, observed
from cloud_node.cluster.layout import OWNERS, ClusterLayout
from cloud_node.cluster.ownership import give, require_ours, take_back
from cloud_node.cluster.plan import ClusterPlan, Profile
from cloud_node.cluster.reachability import first_barrier, software, swappable
from cloud_node.cluster.users import STANDARD_UIDS, UidRange, allot, uids_running, users_from
from cloud_node.process_user import ProcessUser, process_environment, spawn_options
from lanai.errors import ConfigError
from lanai.folders import Folders
from lanai.settings import Settings

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def layout(tmp_path: Path) -> ClusterLayout:
    found = ClusterLayout.of(Folders.below(tmp_path), "one")
    found.create()
    return found


def plan(model: Path, *, profile: Profile = "development") -> ClusterPlan:
    return ClusterPlan(
        profile=profile,
        model_name="tiny",
        model_folder=model,
        model_bytes=0,
        context_tokens=64,
        threads=1,
    )


def test_the_shipped_setting_is_the_standard_range() -> None:
    """Settings and code name the same users, outside of what others allot."""
    assert UidRange.parse(Settings().cloud_uids) == STANDARD_UIDS
    assert STANDARD_UIDS.first > 1_879_048_191, "systemd: for containers up to here"
    assert STANDARD_UIDS.last < 2**31


@pytest.mark.parametrize("text", ["0-31", "5-4", "100-114", "1-4294967295"])
def test_a_range_that_holds_no_cluster_is_refused(text) -> None:
    """Root, too few, and the id that means nobody."""
    with pytest.raises(ConfigError):
        UidRange.parse(text)


def test_every_role_has_a_number_of_its_own(layout) -> None:
    """No two parties share a user; the supervisor's is in nobody's group."""
    users = users_from(5000, layout)
    assert len({user.uid for user in users.values()}) == len(OWNERS)
    assert users["ray"].groups == []
    assert users["gateway"].groups == [users["store"].uid]
    assert set(users["node"].groups) == {users["store"].uid, users["tpm"].uid}


def test_a_cluster_keeps_its_users_and_shares_them_with_none(layout, tmp_path) -> None:
    """A standing block is kept; one that a process or a neighbour has is passed over."""
    uids = UidRange(first=1_990_000_000, last=1_990_000_047)
    assert uids.blocks == 3
    assert allot(layout, uids, standing=1_990_000_016) == 1_990_000_016
    neighbour = ClusterLayout.of(Folders.below(tmp_path), "two")
    neighbour.create()
    found = Isolation(users=users_from(1_990_000_016, neighbour))
    neighbour.isolation_file.write_text(found.model_dump_json())
    assert allot(layout, uids, standing=1_990_000_016) == 1_990_000_032
    crowded = UidRange(first=1_990_000_016, last=1_990_000_031)
    with pytest.raises(ConfigError, match="taken"):
        allot(layout, crowded, standing=None)
    ours = UidRange(first=max(1, os.geteuid()), last=max(1, os.geteuid()) + 15)
    if not AS_ROOT:
        with pytest.raises(ConfigError, match="taken"):
            allot(layout, ours, standing=None)


def test_what_runs_is_listed_by_every_id_it_has() -> None:
    """This process is under its own user."""
    assert os.getpid() in uids_running()[os.geteuid()]


def test_a_user_gets_no_folder_of_the_operators(tmp_path) -> None:
    """Name and home are its own; nothing but what a process needs is passed on."""
    user = ProcessUser(name="lanai-ray", uid=7, groups=[9], home=tmp_path)
    operator = {"HOME": "/root", "TMPDIR": "/root/t", "LANAI_HOME": "/x", "KEY": "k", "PATH": "p"}
    told = process_environment(user, operator)
    assert told == {
        "PATH": "p",
        "HOME": str(tmp_path),
        "USER": "lanai-ray",
        "LOGNAME": "lanai-ray",
    }
    assert process_environment(None, operator).keys() == operator.keys() - {"KEY"}
    assert spawn_options(None) == {}
    assert spawn_options(user)["extra_groups"] == [9]


def test_a_closed_folder_in_the_way_is_named(tmp_path) -> None:
    """Above, below, behind a link: the first thing that others cannot pass, and how to open it."""
    open_folder, home = tmp_path / "open", tmp_path / "home"
    for folder in (open_folder, home, home / "model"):
        folder.mkdir()
        folder.chmod(0o755)
    (home / "model" / "weights").touch(mode=0o644)
    (open_folder / "link").symlink_to(home / "model" / "weights")

    def at(path: Path) -> Path | None:
        # What lies above the test's own folder is not the test's business.
        found = first_barrier([path])
        return found.at if found and found.at.is_relative_to(tmp_path) else None

    tops = [p for p in (tmp_path, *tmp_path.parents) if p.stat().st_uid == os.geteuid()]
    modes = {p: p.stat().st_mode & 0o7777 for p in tops}
    try:
        for p in tops:
            p.chmod(modes[p] | 0o001)
        assert at(home / "model") is None
        (home / "model" / "weights").chmod(0o600)
        found = first_barrier([home / "model"])
        assert found is not None
        assert (found.at, found.hint) == (
            home / "model" / "weights",
            f"`chmod -R a+rX {home / 'model'}` opens it to them",
        )
        home.chmod(0o700)
        found = first_barrier([open_folder / "link"])
        assert found is not None
        assert found.at == home
        assert "chmod a+x" in found.hint
    finally:
        for p, mode in modes.items():
            p.chmod(mode)


def test_the_software_is_what_runs() -> None:
    """Interpreter and packages are files that exist."""
    assert {path.is_file() for path in software()} == {True}


def test_a_folder_that_somebody_else_could_exchange_is_named(tmp_path) -> None:
    """Root hands nothing over below a folder that others may write to."""
    (tmp_path / "theirs" / "cluster").mkdir(parents=True)
    (tmp_path / "theirs").chmod(0o777)
    found = swappable(tmp_path / "theirs" / "cluster")
    assert found == (tmp_path / "theirs" if AS_ROOT else found)
    assert found is not None


def test_without_root_nothing_is_claimed(layout, monkeypatch) -> None:
    """The reason is said; a production profile refuses."""
    monkeypatch.setattr(isolation_module.os, "geteuid", lambda: 1000)
    found = decide(layout, plan(layout.folder))
    assert (found.separate, found.reason) == (False, "it was not started as root")
    layout.isolation_file.write_text(found.model_dump_json())
    assert observed(layout, []) == ("same-user", "it was not started as root")
    with pytest.raises(ConfigError, match="not started as root"):
        decide(layout, plan(layout.folder, profile="production"))


def test_root_without_its_capabilities_is_not_enough(layout, monkeypatch, tmp_path) -> None:
    """A container that keeps root from giving files away says so."""
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t0000000000000020\n")
    monkeypatch.setattr(isolation_module, "_STATUS", status)
    monkeypatch.setattr(isolation_module.os, "geteuid", lambda: 0)
    found = decide(layout, plan(layout.folder))
    assert found.reason is not None
    assert "CAP_SETUID" in found.reason
    assert "CAP_KILL" not in found.reason


def test_status_says_what_runs_and_not_what_was_planned(layout) -> None:
    """A part that runs as anybody else ends the claim."""
    isolation = Isolation(users=users_from(1_990_000_000, layout))
    layout.isolation_file.write_text(isolation.model_dump_json())
    assert observed(layout, []) == ("separate-users", None)
    found, reason = observed(layout, [("gateway", os.getpid())])
    assert (found, reason) == ("same-user", "gateway does not run as the user it was given")
    layout.isolation_file.unlink()
    assert observed(layout, [])[0] == "same-user"


def test_files_of_somebody_else_are_said_before_anything_else(layout, monkeypatch) -> None:
    """Whose they are, and what to do; root may go on."""
    monkeypatch.setattr("cloud_node.cluster.ownership.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError) as caught:
        require_ours(layout)
    assert caught.value.hint is not None
    assert "--name" in caught.value.hint
    monkeypatch.setattr("cloud_node.cluster.ownership.os.geteuid", lambda: 0)
    require_ours(layout)


def test_root_follows_no_link_when_it_gives_files_away(layout, tmp_path) -> None:
    """A link in a cluster's folder is refused, of either kind; the target keeps its owner."""
    target = tmp_path / "target"
    target.touch()
    user = ProcessUser(name="x", uid=os.geteuid() or 7, home=tmp_path)
    link = layout.own("issuer") / "accounts.sqlite"
    for make in (link.symlink_to, link.hardlink_to):
        make(target)
        with pytest.raises(ConfigError, match="is a link"):
            give(layout.own("issuer"), user)
        assert target.stat().st_uid == os.geteuid()
        if AS_ROOT:
            with pytest.raises(ConfigError, match="is a link"):
                take_back(layout)
        link.unlink()


def test_earlier_files_are_continued_where_they_are_now(tmp_path) -> None:
    """A cluster of an earlier version keeps its witness's memory and its accounts."""
    layout = ClusterLayout.of(Folders.below(tmp_path), "old")
    layout.folder.mkdir(parents=True)
    (layout.folder / "witness.json").write_text(json.dumps("memory"))
    (layout.folder / "accounts.sqlite").write_text("book")
    layout.create()
    assert json.loads(layout.witness_memory.read_text()) == "memory"
    assert layout.accounts.read_text() == "book"
    layout.create()
