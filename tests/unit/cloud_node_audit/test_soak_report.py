"""What a soak finds fault with."""

from collections import Counter

import pytest

from cloud_node.audit.soak import Footprint, SoakReport

MIB = 1 << 20
BEFORE = {
    "relay": Footprint(processes=1, descriptors=15, memory_bytes=30 * MIB),
    "launcher-0 engine": Footprint(processes=1, descriptors=7, memory_bytes=200 * MIB),
    "ray raylet": Footprint(processes=1, descriptors=58, memory_bytes=10 * MIB),
    "store valkey-server": Footprint(processes=1, descriptors=16, memory_bytes=2 * MIB),
}


def problems(name: str, *, processes: int = 0, descriptors: int = 0, growth: int = 0) -> list[str]:
    """Of a report in which one piece has more of something."""
    more = Footprint(processes=processes, descriptors=descriptors, memory_bytes=growth)
    after = {**BEFORE, name: BEFORE[name] + more}
    return SoakReport(requests=1, ended=Counter(), before=BEFORE, after=after, seconds=1.0).problems


def test_a_cluster_as_it_was_is_without_fault() -> None:
    """And within 2 % is as it was."""
    assert problems("relay") == []
    assert problems("relay", growth=MIB // 2) == []


@pytest.mark.parametrize("name", BEFORE)
def test_every_piece_keeps_its_processes_and_descriptors(name: str) -> None:
    """Also those whose memory may grow."""
    assert problems(name, processes=1) == [f"{name}: 1 processes became 2"]
    [found] = problems(name, descriptors=1)
    assert found.startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["relay", "launcher-0 engine"])
def test_a_piece_of_ours_that_grows_is_found(name: str) -> None:
    """By more than 2 % of itself, however little that is of all."""
    found = problems(name, growth=BEFORE[name].memory_bytes // 40)
    assert found[0] == f"{name}: its memory grew by 2.5%"


@pytest.mark.parametrize("name", ["ray raylet", "store valkey-server"])
def test_what_grows_for_reasons_of_its_own_counts_in_the_sum(name: str) -> None:
    """A megabyte is theirs; 2 % of the cluster is not."""
    assert problems(name, growth=MIB) == []
    assert problems(name, growth=6 * MIB) == ["all together: memory grew by 2.5%"]
