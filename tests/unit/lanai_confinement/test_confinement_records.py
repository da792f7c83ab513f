"""What a confinement may say, and the views it is given."""

import threading
from pathlib import Path

import pytest

import lanai.confinement
from lanai.confinement import Confinement, hardware_view, interpreter_view
from lanai.confinement.descriptors import close_descriptors
from lanai.confinement.kernel import single_threaded
from lanai.errors import ConfigError


def test_public_names() -> None:
    """The package's face is this list, and nothing else."""
    assert sorted(lanai.confinement.__all__) == [
        "Confinement",
        "Granted",
        "Protection",
        "SWAPS",
        "confine",
        "drop_capabilities",
        "forbid_core",
        "forbid_dump",
        "hardware_view",
        "interpreter_view",
        "lock_memory",
        "prepare",
    ]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    """Port 0 would mean any to bind, and means nothing to connect."""
    with pytest.raises(ConfigError):
        Confinement(sockets=True, tcp_connect=frozenset({port}))


@pytest.mark.parametrize(
    "words",
    [
        {"tcp_bind": True},
        {"tcp_connect": frozenset({1})},
        {"unix_sockets": True},
        {"datagrams": True},
    ],
)
def test_a_network_without_sockets_is_a_contradiction(words: dict[str, object]) -> None:
    """It is refused where it is written, since it would be silently none."""
    with pytest.raises(ConfigError):
        Confinement(**words)  # type: ignore[arg-type]


def test_a_closed_descriptor_is_not_kept() -> None:
    """-1, which a closed socket gives, raises before anything is closed."""
    with pytest.raises(ConfigError):
        close_descriptors([-1])


def test_the_interpreters_view_has_its_modules_and_no_home() -> None:
    """The standard library and an editable package are in view, the working folder is not."""
    view = interpreter_view("lanai")
    assert Path(threading.__file__).parent in view
    assert any(path == Path(lanai.confinement.__file__).parents[1] for path in view)
    assert not {Path("/"), Path.home(), Path.cwd(), Path("/etc"), Path("/proc")} & set(view)


def test_the_hardwares_view_shows_no_process() -> None:
    """Single files of /proc, so that other processes stay out of view."""
    assert Path("/proc") not in hardware_view()
    assert Path("/proc/cpuinfo") in hardware_view()


def test_another_thread_counts() -> None:
    """A second thread is seen while it lives: Landlock would not bind it."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert not single_threaded()
    finally:
        stop.set()
        thread.join()
