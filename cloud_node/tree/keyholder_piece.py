"""The keyholder as a process: it measures what runs here, then holds the keys."""

from cloud_node.events import Event
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import attesters_of
from cloud_node.node.release import measure_release
from cloud_node.tree.confinements import keyholder_confinement
from cloud_node.tree.keyholder import Keyholder
from cloud_node.tree.keyholder_loop import KeyholderLoop
from cloud_node.tree.piece import Piece
from lanai.erasure import overwrite_freed_memory
from lanai.errors import ConfigError, UsageError

__all__ = ["run"]


def run(piece: Piece) -> None:
    """Until the launcher is gone. Raises what measuring and the attesters' start raise."""
    if piece.door is None:
        raise UsageError("a keyholder needs a door")
    config = NodeConfig.model_validate_json(piece.order["config"])
    if not overwrite_freed_memory() and config.profile == "production":
        raise ConfigError("freed memory is not overwritten here", hint="a node needs glibc")
    release = measure_release(config)
    attesters = attesters_of(config.evidence, release)
    if any(attester.kind.startswith("unsafe") for attester in attesters):
        piece.log.emit(Event.UNSAFE_EVIDENCE)
    # What was measured above is out of its view from here on.
    lacking = piece.confine(keyholder_confinement(config), profile=config.profile)
    loop = KeyholderLoop(Keyholder(attesters), piece.door, piece.wire, piece.log)
    piece.ready(release=release.canonical(), lacking=lacking)
    loop.run()
