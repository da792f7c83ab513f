"""What a process looks like from outside and inside once it has confined itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# One process for each: what it does to itself cannot be undone.
PRELUDE = """
import ctypes, json, os, resource, socket, sys, threading
from pathlib import Path
from lanai.confinement import *
from lanai.confinement import memory
def status(): return dict(l.split(":", 1) for l in STATUS.read().splitlines())
STATUS = open("/proc/self/status")
def tell(**facts): os.write(1, json.dumps(facts).encode()); os._exit(0)
"""


def told(script: str, *, descriptors: tuple[int, ...] = (), **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        capture_output=True,
        check=True,
        pass_fds=descriptors,
        env=dict(os.environ) | environment,
    )
    return dict(json.loads(done.stdout))


def test_the_kernel_says_so_too() -> None:
    """No capabilities, no new privileges, a filter, no core: as /proc/self/status has it."""
    facts = told(
        "confine(Confinement(), keep=[1, STATUS.fileno()])\n"
        "found = status()\n"
        "tell(**{name: found[name].strip() for name in\n"
        "    ('CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Umask')},\n"
        "    core=resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    none = "0" * 16
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {none}
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["Umask"]) == ("1", "2", "0077")
    assert facts["core"] == [0, 0]


def test_the_environment_is_gone_from_memory_too() -> None:
    """The strings that the process was started with are overwritten, named ones excepted."""
    facts = told(
        "environ = open('/proc/self/environ', 'rb')\n"
        "confine(Confinement(environment=frozenset({'STAYS'})), keep=[1, environ.fileno()])\n"
        "left = environ.read()\n"
        "tell(secret=b'hidden' in left, stays=b'STAYS=x' in left, inside=dict(os.environ),\n"
        "     c=bool(ctypes.CDLL(None).getenv(b'SECRET')))\n",
        SECRET="hidden",
        STAYS="x",
    )
    assert facts == {"secret": False, "stays": True, "inside": {"STAYS": "x"}, "c": False}


def test_only_kept_descriptors_are_open() -> None:
    """What was inherited or opened by accident is closed; 0 and 2 lead nowhere."""
    reader, writer = os.pipe()
    facts = told(
        "listed = os.open('/proc/self/fd', os.O_RDONLY)\n"
        "accident = os.open('/proc/self/maps', os.O_RDONLY)\n"
        f"confine(Confinement(), keep=[1, {writer}, listed])\n"
        "names = sorted(int(name) for name in os.listdir(listed))\n"
        "tell(names=names, listed=listed, read=os.read(0, 1).decode(),\n"
        "     null=os.fstat(2).st_rdev == os.makedev(1, 3))\n",
        descriptors=(reader, writer),
    )
    os.close(reader)
    os.close(writer)
    # Listing opens the folder once more; that number is closed again by now.
    expected = {0, 1, 2, writer, facts["listed"]}
    assert expected <= set(facts["names"])
    assert len(facts["names"]) <= len(expected) + 1
    assert (facts["read"], facts["null"]) == ("", True)


def test_a_second_confinement_only_takes_away() -> None:
    """What the first refused stays refused, however much the second names."""
    facts = told(
        "first = confine(Confinement(), keep=[1])\n"
        "wide = Confinement(read=(Path('/'),), write=(Path('/tmp'),), sockets=True, fork=True,\n"
        "    execute=True)\n"
        "second = confine(wide, keep=[1])\n"
        "refused = []\n"
        "for attempt in (os.fork, socket.socket, lambda: open('/etc/passwd')):\n"
        "    try: attempt()\n"
        "    except OSError: refused.append(True)\n"
        "tell(first=sorted(first.missing), refused=refused)\n"
    )
    assert facts == {"first": [], "refused": [True, True, True]}


def test_a_thread_that_ran_before_is_reported() -> None:
    """Landlock would not bind it, so its protections are missing; the filter holds for all."""
    facts = told(
        "stop = threading.Event()\n"
        "thread = threading.Thread(target=stop.wait)\n"
        "thread.start()\n"
        "granted = confine(Confinement(sockets=True), keep=[1])\n"
        "stop.set(); thread.join()\n"
        "tell(missing=sorted(granted.missing), held=sorted(granted.held))\n"
    )
    assert facts["missing"] == ["no_network", "own_signals", "read_only_view"]
    assert "system_calls" in facts["held"]


def test_all_threads_are_filtered() -> None:
    """A thread that ran before cannot make a socket afterwards."""
    facts = told(
        "go, results = threading.Event(), []\n"
        "def attempt():\n"
        "    go.wait()\n"
        "    try: socket.socket()\n"
        "    except OSError as error: results.append(error.errno)\n"
        "thread = threading.Thread(target=attempt)\n"
        "thread.start()\n"
        "confine(Confinement(), keep=[1])\n"
        "go.set(); thread.join()\n"
        "tell(results=results)\n"
    )
    assert facts == {"results": [1]}


def test_memory_is_locked_when_it_is_said_to_be() -> None:
    """Where the limit does not bind, what is mapped now and later is locked, and counted so."""
    facts = told(
        # Root's capability to lock stands in for the limit, which not every root may lift.
        "memory._lift_limit = (lambda: True) if os.geteuid() == 0 else memory._lift_limit\n"
        "word = lock_memory()\n"
        "late = bytearray(1 << 24)\n"
        "tell(word=word, locked=int(status()['VmLck'].split()[0]))\n"
    )
    assert (facts["locked"] > 1 << 14) == (facts["word"] == "locked_memory")
    assert facts["word"] == "locked_memory" or os.geteuid() != 0


def test_a_name_that_is_not_there_opens_nothing(tmp_path: Path) -> None:
    """A path of the view that does not exist is passed over, and does not open its parent."""
    (tmp_path / "beside").write_bytes(b"x")
    facts = told(
        f"granted = confine(Confinement(read=(Path({str(tmp_path / 'gone')!r}),)), keep=[1])\n"
        f"try: open({str(tmp_path / 'beside')!r})\n"
        "except PermissionError: tell(missing=sorted(granted.missing), refused=True)\n"
    )
    assert facts == {"missing": [], "refused": True}


def test_what_may_be_written_is_writable(tmp_path: Path) -> None:
    """A folder of `write` takes, changes and gives up files; one beside it does not."""
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    inside.mkdir()
    beside.mkdir()
    facts = told(
        f"inside, beside = Path({str(inside)!r}), Path({str(beside)!r})\n"
        "confine(Confinement(write=(inside,)), keep=[1])\n"
        "(inside / 'a').write_bytes(b'x'); (inside / 'a').rename(inside / 'b')\n"
        "read = (inside / 'b').read_bytes().decode(); (inside / 'b').unlink()\n"
        "try: (beside / 'a').write_bytes(b'x')\n"
        "except PermissionError: tell(read=read, refused=True)\n"
    )
    assert facts == {"read": "x", "refused": True}
