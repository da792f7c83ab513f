"""The zygote as a process: it loads the text model and forks."""

import gc
import signal
from pathlib import Path

from cloud_node.tree.confinements import zygote_confinement
from cloud_node.tree.nursery import ForkingNursery
from cloud_node.tree.piece import Piece
from cloud_node.tree.rehearsal import Rehearsal
from cloud_node.tree.request_socket import longest_s
from cloud_node.tree.worker import Room
from cloud_node.tree.zygote import Zygote
from cloud_node.tree.zygote_loop import zygote_loop
from inference.guided import Guide
from inference.text import load_text_model
from lanai.errors import UsageError

__all__ = ["run"]


def run(piece: Piece) -> None:
    """Until the launcher is gone. Raises what the text model's files deserve."""
    if piece.door is None:
        raise UsageError("a zygote needs a door")
    order = piece.order
    text = load_text_model(Path(order["model_folder"]))
    room = Room(
        text=text,
        guide=Guide.of(text),
        model=order["model_name"],
        context_tokens=order["context_tokens"],
        timeout_s=order["request_timeout_s"],
    )
    nursery = ForkingNursery(
        room,
        rehearsal=Rehearsal(text, context_tokens=room.context_tokens),
        strict=order["profile"] == "production",
        seconds=longest_s(order["request_timeout_s"]),
    )
    # The kernel reaps workers; nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is warm stays shared between workers: the collector would touch all of it.
    gc.collect()
    gc.freeze()
    lacking = piece.confine(
        zygote_confinement(), profile=order["profile"], keep=nursery.descriptors
    )
    nursery.fill()
    piece.ready(lacking=lacking)
    zygote_loop(Zygote(nursery), piece.door, piece.wire)
