"""The launcher: `python -m cloud_node.launcher --config FILE.json`.

Measured software that owns one node's process tree and offers four verbs on a local socket. It is
all that Ray's supervisor can reach: no request or key passes through here.

    -> {"verb": "start" | "drain" | "stop" | "status"}        one line of JSON, exactly this key
    <- {"ok": bool, "state": "...", "live": n, "address": "..." | null, "node_id": ...,
        "pieces": {name: pid}, "missing": [protection…]}

A refused or failed verb answers ``"ok": false`` and an ``"error"`` word. A piece that ends
is started again by the tree; a node that gave up is not: the launcher says so, and whoever
supervises asks. When it ends, so does its node.
"""

import asyncio
import json
import os
import socket
import struct
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cloud_node.events import Component, Event
from cloud_node.launcher_config import LauncherConfig
from cloud_node.node.config import NodeConfig
from cloud_node.service import Service, load_config, main
from cloud_node.tree.state import NodeState
from cloud_node.tree.tree import NodeTree
from lanai.errors import CloudUnavailable, ConfigError

__all__ = ["Launcher", "Verb"]

MAX_LINE_BYTES: Final = 1024
SOCKET_PATH_LIMIT: Final = 107
IDLE_S: Final = 30.0
GONE: Final = (NodeState.STOPPED, NodeState.DIED)


class Verb(StrEnum):
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    STATUS = "status"


class _Refused(StrEnum):
    """Why a line was not carried out."""

    MALFORMED = "malformed"
    UNKNOWN_VERB = "unknown_verb"
    WRONG_STATE = "wrong_state"
    START_FAILED = "start_failed"


class Launcher:
    """Carries out one verb at a time; ``status`` never waits."""

    def __init__(self, config: LauncherConfig, service: Service) -> None:
        self._config = config
        self._log = service.log
        self._turn = asyncio.Lock()
        self._node = NodeTree(service.log)

    def answers(self, uid: int) -> bool:
        """Whether this user is heard: root, our own, and the supervisor's."""
        return uid in {0, os.geteuid(), self._config.supervisor_uid}

    async def carry_out(self, line: bytes) -> dict[str, Any]:
        """The answer to one line."""
        verb = _parse(line)
        if isinstance(verb, _Refused):
            return self._answer(verb)
        if verb is Verb.STATUS:
            return self._answer()
        async with self._turn:
            return self._answer(await getattr(self, f"_{verb}")())

    async def close(self) -> None:
        """End the node and everything below it."""
        async with self._turn:
            await self._node.stop(within_s=self._config.stop_timeout_s)

    async def _start(self) -> _Refused | None:
        if self._node.state is NodeState.RUNNING:
            return None
        if self._node.state not in GONE and self._node.state is not NodeState.UNRESPONSIVE:
            return _Refused.WRONG_STATE
        await self._clear_away()
        config = self._config
        try:
            await self._node.start(
                load_config(NodeConfig, Path(config.node_config)),
                log=Path(config.node_log) if config.node_log else None,
                within_s=config.start_timeout_s,
            )
        except (CloudUnavailable, ConfigError) as error:
            self._log.emit(Event.FAILED, error=error)
            return _Refused.START_FAILED
        self._log.emit(Event.NODE_STARTED)
        return None

    async def _drain(self) -> _Refused | None:
        if self._node.state not in (NodeState.RUNNING, NodeState.DRAINING):
            return _Refused.WRONG_STATE
        self._node.drain()
        return None

    async def _stop(self) -> _Refused | None:
        await self._node.stop(within_s=self._config.stop_timeout_s)
        self._log.emit(Event.NODE_STOPPED)
        return None

    async def _clear_away(self) -> None:
        """What is left of a run that ended by itself or froze."""
        if self._node.state is not NodeState.STOPPED:
            self._log.emit(Event.NODE_DIED)
        await self._node.stop(within_s=0)
        self._node = NodeTree(self._log)

    def _answer(self, refused: _Refused | None = None) -> dict[str, Any]:
        node = self._node
        gone = node.state in GONE
        answer = {
            "ok": refused is None,
            "state": str(node.state),
            "live": node.live,
            "address": None if gone else node.address,
            "node_id": None if gone else node.node_id,
            "pieces": {} if gone else node.pieces,
            "missing": [] if gone else node.missing,
        }
        return answer if refused is None else answer | {"error": str(refused)}


def _parse(line: bytes) -> "Verb | _Refused":
    """The verb of one line, or why it is none."""
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        return _Refused.MALFORMED
    if not isinstance(asked, dict) or asked.keys() != {"verb"}:
        return _Refused.MALFORMED
    return Verb(asked["verb"]) if asked["verb"] in list(Verb) else _Refused.UNKNOWN_VERB


async def _converse(
    launcher: Launcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Lines of one client, until it closes, falls silent or sends too long a line."""
    try:
        while launcher.answers(_peer_uid(writer)):
            async with asyncio.timeout(IDLE_S):
                line = await reader.readline()
            if not line:
                break
            writer.write(json.dumps(await launcher.carry_out(line)).encode() + b"\n")
            await writer.drain()
    except (TimeoutError, ValueError, OSError):  # ValueError: a line past the reader's limit
        pass
    finally:
        writer.close()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    """Who connected, as the kernel knows it (SO_PEERCRED)."""
    peer = writer.get_extra_info("socket")
    packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    return int(struct.unpack("iII", packed)[1])


async def run(config: LauncherConfig, service: Service) -> None:
    """Listen until told to stop; then end the node."""
    launcher = Launcher(config, service)
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_converse(launcher, reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    listener = _bind(Path(config.socket), shared=config.supervisor_uid is not None)
    server = await asyncio.start_unix_server(accept, sock=listener, limit=MAX_LINE_BYTES)
    try:
        async with server:
            service.ready(config.socket)
            await service.stopping.wait()
    finally:
        await launcher.close()
        os.unlink(config.socket)


def _bind(path: Path, *, shared: bool) -> socket.socket:
    """A listening socket at ``path``; a stale one is replaced.

    It is 0600 from its first moment. ``shared`` it is 0666: its folder keeps out everybody but us
    and the supervisor, and each peer is asked for all the same.
    """
    if len(str(path).encode()) > SOCKET_PATH_LIMIT:
        raise ConfigError("socket path too long", hint="use a shorter runtime folder")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    earlier = os.umask(0o111 if shared else 0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(earlier)
    return listener


if __name__ == "__main__":
    main(Component.LAUNCHER, LauncherConfig, run)
