"""The node's event log on disk keeps in step with a PCR, whatever interrupts it."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tpm import EventFile, TpmConfig
from lanai.errors import CloudUnavailable, ConfigError
from trust.attestation.tpm2 import MAX_EVENTS, EventKind, NodeEvent
from trust.attestation.tpm2.node_log import judge, replay

RELEASE = NodeEvent.release(software="11" * 32, weights="22" * 32, configuration="33" * 32)


class OnePcr:
    """A PCR in memory. ``dies_after`` extends, it fails."""

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.value = bytes(32)
        self._left = dies_after

    def pcrs(self, indices: Iterable[int]) -> Mapping[int, bytes]:
        return dict.fromkeys(indices, self.value)

    def extend(self, pcr: int, digest: bytes) -> None:
        if self._left == 0:
            raise CloudUnavailable("killed")
        self._left = None if self._left is None else self._left - 1
        self.value = sha256(self.value + digest).digest()


def keys(number: int) -> NodeEvent:
    return NodeEvent(EventKind.KEYS, number.to_bytes(32, "big"))


def test_a_log_grows_by_one_event_for_each_new_pair_of_keys(tmp_path: Path) -> None:
    """And by none when its last keys are asked about again."""
    file, pcr = EventFile(tmp_path / "events"), OnePcr()
    sizes = [len(file.record(pcr, RELEASE, keys(n))) for n in (1, 1, 2, 1)]
    assert sizes == [4, 4, 5, 6]
    events = file.record(pcr, RELEASE, keys(1))
    assert replay(events) == pcr.value
    judge(events, keys(1).digest)


@pytest.mark.parametrize("survived", [1, 2, 3])
def test_a_killed_start_is_completed_by_the_next(tmp_path: Path, survived: int) -> None:
    """Events are on disk before they are in the PCR."""
    file, pcr = EventFile(tmp_path / "events"), OnePcr(dies_after=survived)
    with pytest.raises(CloudUnavailable, match="killed"):
        file.record(pcr, RELEASE, keys(1))
    pcr._left = None
    events = file.record(pcr, RELEASE, keys(2))
    assert events == (*RELEASE, keys(1), keys(2))
    assert replay(events) == pcr.value


def test_a_restarted_machine_begins_a_new_log(tmp_path: Path) -> None:
    """Its PCR is zero, whatever the file says; also when nothing was extended before."""
    file = EventFile(tmp_path / "events")
    file.record(OnePcr(), RELEASE, keys(1))
    assert file.record(OnePcr(), RELEASE, keys(2)) == (*RELEASE, keys(2))


def test_a_full_log_says_so(tmp_path: Path) -> None:
    """The last event fits; the one after it asks for a restart, and changes nothing."""
    file, pcr = EventFile(tmp_path / "events"), OnePcr()
    events = [*RELEASE, *(keys(n) for n in range(MAX_EVENTS - 4))]
    for event in events:
        pcr.extend(15, event.extension)
    (tmp_path / "events").write_bytes(b"".join(event.serialize() for event in events))
    assert len(file.record(pcr, RELEASE, keys(1000))) == MAX_EVENTS
    before = pcr.value
    with pytest.raises(CloudUnavailable, match="full"):
        file.record(pcr, RELEASE, keys(1001))
    assert pcr.value == before


@pytest.mark.parametrize("damage", [b"", b"\x09" + bytes(32), bytes(7)])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, damage: bytes) -> None:
    """Lost, of no known event, or cut: the machine has to restart."""
    file, pcr = EventFile(tmp_path / "events"), OnePcr()
    file.record(pcr, RELEASE, keys(1))
    (tmp_path / "events").write_bytes(damage)
    with pytest.raises(ConfigError) as caught:
        file.record(pcr, RELEASE, keys(2))
    assert caught.value.hint == "restart the machine"


def test_production_refuses_a_software_tpm(tmp_path: Path) -> None:
    """A node's configuration cannot name one outside development."""
    endpoint = PinnedEndpoint(address="127.0.0.1:1", certificate="x")

    def node(profile: str, **tpm: str) -> NodeConfig:
        found = TpmConfig(authority=endpoint, event_file=tmp_path / "events", **tpm)
        return NodeConfig(
            name="node",
            profile=profile,
            store_url="redis://",
            log=endpoint,
            model_folder="m",
            model_name="m",
            context_tokens=64,
            threads=1,
            evidence=EvidenceConfig(tpm=found),
        )

    node("development", unsafe_swtpm_socket="/s")
    node("production", device="/dev/tpmrm0")
    with pytest.raises(ValueError, match="refused outside development"):
        node("production", unsafe_swtpm_socket="/s")
    with pytest.raises(ValueError, match="exactly one"):
        node("development")
