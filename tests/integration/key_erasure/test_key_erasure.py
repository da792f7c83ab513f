"""What is left of keys in the keyholder's memory: read from outside, as root would."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lanai.erasure import ENVIRONMENT
from trust.envelope import NodeKey, seal_request
from trust.envelope.keys import RequestSecrets
from trust.hpke.x_wing import expand_seed

PROGRAM = Path(__file__).with_name("erasing_keyholder.py")
SPKI = b"s" * 32


class Process:
    """The program beside this file, spoken to in lines."""

    def __init__(self, mode: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )

    def say(self, *lines: str) -> None:
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"

    def holds(self, needle: bytes) -> int:
        """How often its memory holds the bytes."""
        found = 0
        proc = Path("/proc") / str(self._process.pid)
        with (proc / "mem").open("rb", buffering=0) as memory:
            for line in (proc / "maps").read_text().splitlines():
                span, access, *_ = line.split()
                start, end = (int(edge, 16) for edge in span.split("-"))
                if access.startswith("r") and not line.endswith(("[vvar]", "[vsyscall]")):
                    found += _read(memory, start, end).count(needle)
        return found

    def end(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def _read(memory, start: int, end: int) -> bytes:
    try:
        return os.pread(memory.fileno(), end - start, start)
    except OSError:  # a mapping of the kernel's own
        return b""


@pytest.fixture(params=["erasing", "plain"])
def keyholder(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    process = Process(request.param)
    yield SimpleNamespace(process=process, erasing=request.param == "erasing")
    process.end()


def sealed(key: NodeKey) -> tuple[bytes, bytes, str]:
    """Data key, answer secret and header of one request."""
    node = SimpleNamespace(
        node_id=key.node_id,
        hpke_public_key=key.public_key,
        tls_spki_sha256=SPKI,
        checkpoint_hash=b"c" * 32,
    )
    request = seal_request(
        b"body",
        [node],
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) + 600,
    )
    (secrets,) = request.opener._candidates.values()
    assert isinstance(secrets, RequestSecrets)
    header = request.header.to_proto().SerializeToString().hex()
    return secrets.data_key, secrets.answer_secret, header


def test_no_secret_of_a_request_stays_with_the_keyholder(keyholder: SimpleNamespace) -> None:
    """Once they were handed on, neither half is in its memory; without erasure they are."""
    seed = os.urandom(32)
    key = NodeKey(seed)
    keyholder.process.say(seed.hex(), SPKI.hex())
    requests = [sealed(key) for _ in range(20)]
    for *_, header in requests:
        keyholder.process.say(header)
    left = sum(keyholder.process.holds(one) for secrets in requests for one in secrets[:2])
    assert (left == 0) is keyholder.erasing


def test_a_dropped_key_is_gone(keyholder: SimpleNamespace) -> None:
    """Held, its private parts are in the memory once; dropped, no more: OpenSSL wipes its own."""
    seed = os.urandom(32)
    post_quantum, classical = expand_seed(seed)
    seeds = post_quantum.private_bytes_raw()  # FIPS 203: d and z, kept apart
    parts = (seeds[:32], seeds[32:], classical.private_bytes_raw())
    keyholder.process.say(seed.hex(), SPKI.hex())
    assert [keyholder.process.holds(part) for part in parts] == [1, 1, 1]
    keyholder.process.say("drop")
    assert [keyholder.process.holds(part) for part in (*parts, seed)] == [0, 0, 0, 0]
