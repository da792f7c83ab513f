"""What is said to be held when the kernel has less, with the kernel's answers given."""

import struct
from pathlib import Path

import pytest

from lanai.confinement import Confinement, Granted, Protection, confining, kernel, landlock, memory

TCP = Confinement(sockets=True, tcp_connect=frozenset({443}))
UNIX = Confinement(sockets=True, unix_sockets=True)
LANDLOCKED = {Protection.READ_ONLY_VIEW, Protection.OWN_SIGNALS, Protection.NO_NETWORK}


def verdict(
    monkeypatch: pytest.MonkeyPatch,
    confinement: Confinement,
    *,
    abi: int,
    alone: bool = True,
    seccomp: bool = True,
) -> set[Protection]:
    """What the last two steps hold, on a kernel that answers so."""
    monkeypatch.setattr(confining, "restrict", lambda _: abi)
    monkeypatch.setattr(confining, "machine", lambda: kernel.Machine.X86_64)
    monkeypatch.setattr(confining, "install", lambda *_: seccomp)
    return set(confining._kernel_rules(confinement, alone=alone))


@pytest.mark.parametrize(
    ("abi", "held"),
    [
        (0, set()),
        (2, set()),
        (3, {Protection.READ_ONLY_VIEW}),
        (4, {Protection.READ_ONLY_VIEW, Protection.NO_NETWORK}),
        (5, {Protection.READ_ONLY_VIEW, Protection.NO_NETWORK}),
        (6, LANDLOCKED),
        (7, LANDLOCKED),
    ],
)
def test_each_version_of_landlock_holds_what_it_can(
    monkeypatch: pytest.MonkeyPatch, abi: int, held: set[Protection]
) -> None:
    """View from 3, ports from 4, signals from 6: below, each is missing."""
    assert verdict(monkeypatch, TCP, abi=abi) == held | {Protection.SYSTEM_CALLS}


def test_a_process_without_sockets_needs_no_landlock_for_its_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No socket, no network: the system call filter is enough."""
    assert Protection.NO_NETWORK in verdict(monkeypatch, Confinement(), abi=0)


def test_unix_sockets_need_their_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where abstract names are not scoped, a process with unix sockets has a network."""
    assert Protection.NO_NETWORK not in verdict(monkeypatch, UNIX, abi=5)
    assert Protection.NO_NETWORK in verdict(monkeypatch, UNIX, abi=6)


def test_threads_that_ran_before_are_not_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another thread alive nothing of Landlock is claimed."""
    assert verdict(monkeypatch, TCP, abi=7, alone=False) == {Protection.SYSTEM_CALLS}


def test_without_a_filter_there_is_no_network_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landlock's ports alone do not count: UDP and other protocols would stay."""
    held = verdict(monkeypatch, TCP, abi=7, seccomp=False)
    assert held == {Protection.READ_ONLY_VIEW, Protection.OWN_SIGNALS}


@pytest.mark.parametrize(
    ("abi", "size", "files"),
    [
        (1, 8, 0x1FFF),
        (2, 8, 0x3FFF),
        (3, 8, 0x7FFF),
        (4, 16, 0x7FFF),
        (5, 16, 0xFFFF),
        (6, 24, 0xFFFF),
        (7, 24, 0xFFFF),
    ],
)
def test_a_ruleset_speaks_the_kernels_version(
    monkeypatch: pytest.MonkeyPatch, abi: int, size: int, files: int
) -> None:
    """An older kernel refuses attributes and rights it does not know, so it is not given them."""
    asked: list[tuple[int | bytes | None, ...]] = []

    def answer(number: int, *arguments: int | bytes | None) -> int:
        asked.append((number, *arguments))
        return abi if arguments[-1] == landlock.ASK_VERSION else -1

    monkeypatch.setattr(landlock, "system_call", answer)
    assert landlock.restrict(TCP) == 0
    _, words, told, _ = asked[-1]
    assert isinstance(words, bytes)
    assert (len(words), told) == (size, size)
    assert struct.unpack_from("=Q", words)[0] == files


def test_elsewhere_everything_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system nothing is held, and nothing is raised."""
    monkeypatch.setattr("sys.platform", "darwin")
    granted = confining.confine(Confinement(), keep=())
    assert granted.held == frozenset()
    assert granted.missing == frozenset(Protection) - {Protection.NO_SWAP}


@pytest.fixture
def swaps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A limit that stays, and a list of swap devices to write."""
    monkeypatch.setattr(memory, "_lift_limit", lambda: False)
    monkeypatch.setattr(memory, "SWAPS", tmp_path / "swaps")
    return tmp_path / "swaps"


def test_a_host_without_swap_is_said_to_be_that(swaps: Path) -> None:
    """Memory below a limit is not locked; what holds instead has a word of its own."""
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n")
    assert memory.lock_memory() is Protection.NO_SWAP


def test_swap_and_a_limit_leave_nothing_to_claim(swaps: Path) -> None:
    """A swap device, and a list that cannot be read: neither is called safe."""
    assert memory.lock_memory() is None
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n/dev/vdb partition 8 0 -2\n")
    assert memory.lock_memory() is None


def test_no_swap_stands_for_locked_memory() -> None:
    """Either word is enough for nothing to be missing; neither of them is one missing word."""
    others = frozenset(Protection) - {Protection.LOCKED_MEMORY, Protection.NO_SWAP}
    assert Granted.of(others | {Protection.NO_SWAP}).missing == frozenset()
    assert Granted.of(others | {Protection.LOCKED_MEMORY}).missing == frozenset()
    assert Granted.of(others).missing == {Protection.LOCKED_MEMORY}
