"""The load of an audit: made for the model that the cluster serves, sent, and waited for."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.audit.device import Ended, MarkedDevice
from cloud_node.audit.marks import Marks
from cloud_node.audit.requests import MarkedRequest, RequestMaker
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.launcher_client import LauncherClient
from cloud_node.node.config import NodeConfig
from cloud_node.service import load_config
from inference.text import load_text_model
from lanai.errors import AuditError, CloudUnavailable

__all__ = ["Marked", "maker_for", "send_all", "settled"]

SIDE_BY_SIDE: Final = 4
FILL: Final = 0.55
"""Share of a node's context that a long request takes."""
SETTLE_S: Final = 60.0
POLL_S: Final = 0.25
QUIET: Final = 4
"""Nodes report twice a second: so many quiet answers in a row are newer than the last request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Marks for a cluster's model, and what makes requests with them."""

    marks: Marks
    maker: RequestMaker


def maker_for(layout: ClusterLayout, *, seed: int) -> Marked:
    """Blocks: it loads a tokenizer. Raises ``CloudUnavailable``, ``AuditError``, ``ModelError``."""
    paths = sorted((layout.folder / "config").glob("node-*.json"))
    if not paths:
        raise CloudUnavailable("this cluster has no node", hint="`lanai cloud scale 1`")
    config = load_config(NodeConfig, paths[0])
    text = load_text_model(Path(config.model_folder))
    marks = Marks(text.encode)
    sample = "quiet harbour, " * 8 + marks.make("sample")
    characters = len(sample) / len(text.encode(sample)) * config.context_tokens * FILL
    maker = RequestMaker(
        marks, context_tokens=config.context_tokens, characters=int(characters), seed=seed
    )
    return Marked(marks=marks, maker=maker)


async def send_all(
    device: MarkedDevice,
    load: Iterable[MarkedRequest],
    took: Callable[[MarkedRequest, Ended], None],
    *,
    side_by_side: int = SIDE_BY_SIDE,
) -> None:
    """A few at once, the next when one has ended; ``took`` hears of each. Raises ``AuditError``."""
    waiting = iter(load)

    async def lane() -> None:
        for request in waiting:
            took(request, await device.send(request).ended)

    await asyncio.gather(*(lane() for _ in range(side_by_side)))


async def settled(layout: ClusterLayout) -> None:
    """Until every node says that nothing is live. Raises ``AuditError`` when it takes too long."""
    quiet, deadline = 0, time.monotonic() + SETTLE_S
    while quiet < QUIET:
        said = [await LauncherClient(socket=path).status() for path in layout.sockets]
        quiet = 0 if any(status.live for status in said) else quiet + 1
        if time.monotonic() > deadline:
            raise AuditError(
                "requests are still live", hint="audit a cluster when nobody else uses it"
            )
        await asyncio.sleep(POLL_S)
