"""Starts one process of a cluster and waits for its ready line."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import give
from cloud_node.cluster.processes import ProcessEntry, ProcessTable, is_alive, spawn
from cloud_node.service import ServiceConfig
from lanai.errors import CloudUnavailable

__all__ = ["Starter", "last_words"]

POLL_S: Final = 0.01
MAX_LINE: Final = 4096
TAIL_BYTES: Final = 2000


class Starter:
    """Starts processes of one cluster and writes each down before it waits for it."""

    def __init__(self, layout: ClusterLayout, table: ProcessTable) -> None:
        self._layout = layout
        self._table = table
        self._isolation = Isolation.of(layout)

    async def start(
        self, role: str, module: str, config: ServiceConfig, *, timeout_s: float = 20.0
    ) -> ProcessEntry:
        """Write the configuration, start ``python -m module``, return the entry with its address.

        Raises ``CloudUnavailable`` with what the process said last when it ends or stays silent.
        """
        user = self._isolation.user(role)
        give(config.write(path := self._layout.config(role)), user)
        # -P: a file in the operator's working folder must not shadow a module.
        arguments = [sys.executable, "-P", "-m", module, "--config", str(path)]
        entry, output = spawn(role, arguments, log=self._layout.log(role), user=user)
        try:
            self._table.put(entry)
            address = await self._ready(entry, output, timeout_s)
        finally:
            os.close(output)
        entry = ProcessEntry(role=role, pid=entry.pid, started=entry.started, address=address)
        self._table.put(entry)
        return entry

    async def _ready(self, entry: ProcessEntry, output: int, timeout_s: float) -> str:
        os.set_blocking(output, False)
        line = b""
        try:
            async with asyncio.timeout(timeout_s):
                while not line.endswith(b"\n") and len(line) < MAX_LINE:
                    line += await self._more(entry, output)
            said = json.loads(line)
            if said.get("ready") is True:
                return str(said["address"])
        except TimeoutError:
            raise self._failed(entry.role, f"did not answer within {timeout_s:g} s") from None
        except (ValueError, KeyError, AttributeError):
            pass
        raise self._failed(entry.role, "did not say that it is ready")

    async def _more(self, entry: ProcessEntry, output: int) -> bytes:
        """What it wrote since, after a short wait for it. Raises when it ended."""
        alive = is_alive(entry)
        try:
            if data := os.read(output, MAX_LINE):
                return data
        except BlockingIOError:
            data = b""
        if not alive:
            raise self._failed(entry.role, "ended while starting")
        await asyncio.sleep(POLL_S)
        return data

    def _failed(self, role: str, what: str) -> CloudUnavailable:
        log = self._layout.log(role)
        return CloudUnavailable(f"{role} {what}", hint=last_words(log) or f"see {log}")


def last_words(log: Path) -> str | None:
    """Last hint or line of talk in a process's log; its events are no talk."""
    try:
        tail = log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        return None
    talk = [line for line in tail.splitlines() if line and not line.startswith("{")]
    return " / ".join(talk[-2:]) if talk else None
