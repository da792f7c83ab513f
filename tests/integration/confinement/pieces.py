"""One process in a node's real confinement, attacking.

    python pieces.py PIECE TARGETS      PIECE may be `front-unix`: its store is a unix socket's

It confines itself with what the piece of that name names, and prints what is missing, what its
attempts did, and whether what the piece is for still works.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from attempts import Targets, tried

from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tree.confinements import (
    front_confinement,
    keyholder_confinement,
    worker_confinement,
    zygote_confinement,
)
from inference.confining import engine_confinement
from lanai.confinement import Confinement, confine


def config(targets: Targets, store_url: str) -> NodeConfig:
    address = f"127.0.0.1:{targets.allowed_port}"
    return NodeConfig(
        name="node-0",
        profile="development",
        store_url=store_url,
        log=PinnedEndpoint(address=address, certificate=""),
        model_folder=f"{targets.view}/model",
        model_name="tiny",
        context_tokens=64,
        threads=1,
        evidence=EvidenceConfig(unsafe_software_key=Path("/nowhere")),
    )


def confinement(piece: str, targets: Targets) -> Confinement:
    settings = config(targets, f"redis://127.0.0.1:{targets.allowed_port}")
    unix = config(targets, f"unix://node@{targets.unix_path}")
    made: dict[str, Callable[[], Confinement]] = {
        "front": lambda: front_confinement(settings),
        "front-unix": lambda: front_confinement(unix),
        "keyholder": lambda: keyholder_confinement(settings),
        "zygote": zygote_confinement,
        "worker": worker_confinement,
        "engine": lambda: engine_confinement(Path(settings.model_folder)),
    }
    return made[piece]()


def works(piece: str, targets: Targets) -> bool:
    """What this piece was left: its port, its model."""
    if piece.startswith("front"):
        with socket.create_connection(("127.0.0.1", targets.allowed_port)):
            return True
    if piece == "engine":
        return Path(targets.view, "model", "config.json").is_file() and bool(
            Path(targets.view, "model", "config.json").read_bytes()
        )
    return True


def main(piece: str, targets: Targets) -> None:
    if piece == "worker":  # as in a node: the zygote's confinement first
        confine(confinement("zygote", targets), keep=[1, 2])
    missing = sorted(confine(confinement(piece, targets), keep=[1, 2]).missing)
    report = {"missing": missing, "works": works(piece, targets), "tried": tried(targets)}
    os.write(1, json.dumps(report).encode())
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Targets(**json.loads(sys.argv[2])))
