"""Processes of a running node, as the kernel shows them, and a request sealed to it."""

import contextlib
import os
import time
from pathlib import Path

from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import SealedRequest, seal_request
from trust.verification import VerifiedNode

__all__ = ["parents", "seal", "sockets", "tree", "workers"]


def parents() -> dict[int, int]:
    """Parent of every process that lives."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z":
                found[int(entry.name)] = int(stat[1])
    return found


def tree(pid: int) -> set[int]:
    """``pid`` and every process below it."""
    table, found = parents(), {pid}
    while more := {child for child, parent in table.items() if parent in found} - found:
        found |= more
    return found & table.keys()


def seal(nodes: list[VerifiedNode], text: str, *, max_tokens: int = 24) -> SealedRequest:
    """One user's message, good for a minute."""
    body = envelope_pb2.RequestBody(
        messages=[envelope_pb2.Message(role="user", text=text)], max_tokens=max_tokens, top_p=1.0
    )
    return seal_request(
        body.SerializeToString(),
        nodes,
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) + 60,
    )


def workers(zygote: int) -> set[int]:
    """Those of its children that have a request: a socket to the front and one to the engine.

    One that was forked a moment ago has its parent's sockets still. It has let go of them when it
    has a filter of its own, which is the last that it does to itself.
    """
    children, inherited = tree(zygote) - {zygote}, _filters(zygote)
    return {pid for pid in children if _filters(pid) > inherited and sockets(pid) > 1}


def _filters(pid: int) -> int:
    """Of system calls: those of its parents and its own."""
    with contextlib.suppress(OSError):
        for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
            if line.startswith("Seccomp_filters:"):
                return int(line.split()[1])
    return 0


def sockets(pid: int) -> int:
    """How many it holds open."""
    with contextlib.suppress(OSError):
        links = [os.readlink(entry) for entry in (Path("/proc") / str(pid) / "fd").iterdir()]
        return sum(link.startswith("socket:") for link in links)
    return 0
