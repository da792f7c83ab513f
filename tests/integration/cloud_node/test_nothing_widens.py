"""A node tells events of closed lists, whatever its launcher's environment asks for."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from cloud_node.events import Component, Event, Field
from cloud_node.launcher_client import LauncherClient
from cloud_node.testing.direct import direct_answer
from cloud_node.tree.state import PieceName
from lanai.confinement import Protection
from lanai.errors import RefusalCode, Rejection
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import SealedRequest, seal_request
from trust.verification import VerifiedNode

# The name conftest gives to its part, for types only.
Site = Any

MARK = "verbatim-ORYX-7741"
LOUD = {
    "GRPC_VERBOSITY": "debug",
    "GRPC_TRACE": "all",
    "GLOG_v": "5",
    "RAY_BACKEND_LOG_LEVEL": "debug",
    "TORCH_LOGS": "+all",
    "TORCH_CPP_LOG_LEVEL": "INFO",
    "RUST_LOG": "trace",
    "RUST_BACKTRACE": "full",
    "PYTHONASYNCIODEBUG": "1",
    "LANAI_DEBUG": "1",
    "LANAI_LOG_LEVEL": "debug",
}
"""Variables that make libraries, and others than us, say more."""
WORDS = {
    "component": set(map(str, Component)),
    "event": set(map(str, Event)),
    "reason": set(map(str, Rejection)),
    str(Field.CODE): set(map(str, RefusalCode)),
    str(Field.PIECE): set(map(str, PieceName)),
    str(Field.PROTECTION): set(map(str, Protection)),
}
NAMES_FROM_CODE = {
    "error": re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    "at": re.compile(r"[a-z_]+(\.[a-z_0-9]+)*:\d+"),
}


def seal(node: VerifiedNode, text: str, **fields: Any) -> SealedRequest:
    message = envelope_pb2.Message(role="user", text=text)
    body = envelope_pb2.RequestBody(messages=[message], max_tokens=8, top_p=1.0, **fields)
    return seal_request(
        body.SerializeToString(),
        [node],
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) + 60,
    )


async def last_of(address: str, node: VerifiedNode, sealed: SealedRequest) -> Any:
    """The frame that ends the answer."""
    return [frame async for frame in direct_answer(address, node, sealed)][-1]


def check(line: dict[str, Any]) -> None:
    """Numbers, words of closed lists, and names from code: nothing else."""
    for name, value in line.items():
        if name in WORDS:
            assert value in WORDS[name], line
        elif name in NAMES_FROM_CODE:
            assert NAMES_FROM_CODE[name].fullmatch(value), line
        else:
            assert name == "time" or name in list(Field), line
            assert isinstance(value, int | float | bool), line


def told(log: Path) -> list[dict[str, Any]]:
    """The node's events, which hold no mark."""
    written = log.read_text()
    assert MARK not in written
    return [json.loads(line) for line in written.splitlines()]


async def test_no_variable_makes_a_node_say_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered, too long, malformed: what its processes wrote is events, and holds no mark."""
    for name, value in LOUD.items():
        monkeypatch.setenv(name, value)
    config = site.launcher(1)
    await site.start(
        "cloud_node.launcher", "--config", str(config.write(site.folder / "launcher-01.json"))
    )
    status = await LauncherClient(socket=Path(config.socket)).start()
    node = await site.only_node()
    frames = [
        await last_of(status.address, node, seal(node, MARK)),
        await last_of(status.address, node, seal(node, MARK * 400)),
        await last_of(status.address, node, seal(node, MARK, json_schema=f'{{"enum": "{MARK}"}}')),
        await last_of(status.address, node, seal(node, MARK, regex=f"({MARK}")),
    ]
    assert frames[0].HasField("final")
    assert [frame.failure for frame in frames[1:]] == [
        "context_overflow",
        "bad_request",
        "bad_request",
    ]
    lines = told(Path(config.node_log))
    assert [line for line in lines if line["event"] == "request_failed"]
    for line in lines:
        check(line)
