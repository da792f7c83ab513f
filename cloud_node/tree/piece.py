"""How a piece of the tree begins: `python -m cloud_node.tree.piece NAME PARENT WIRE [DOOR]`.

1. Tie the process to its launcher; reduce all logging to events.
2. Read the order: the first message on the wire, all the configuration a piece gets.
3. Load what must be loaded from files the piece is not to read afterwards.
4. Confine the process; in production, end when a protection is missing.
5. Say ``ready`` with what the launcher needs to know, then serve.

Exit codes are those of ``lanai.errors``. A piece prints nothing but events, and why it could
not start.
"""

import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from cloud_node.events import Component, Event, EventLog, Field
from cloud_node.process import die_with_parent
from cloud_node.tree.doors import Door, Message
from cloud_node.tree.state import PieceName
from lanai.confinement import Confinement, confine
from lanai.errors import ConfigError, LanaiError, UsageError

__all__ = ["Piece", "main"]


STDERR: Final = 2

# The engine is `python -m inference.child`.
_BODIES: Final = {
    PieceName.FRONT: "cloud_node.node.serving",
    PieceName.KEYHOLDER: "cloud_node.tree.keyholder_piece",
    PieceName.ZYGOTE: "cloud_node.tree.zygote_piece",
}
_COMPONENTS: Final = {
    PieceName.FRONT: Component.NODE,
    PieceName.KEYHOLDER: Component.KEYHOLDER,
    PieceName.ZYGOTE: Component.ZYGOTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a piece has from its launcher. The front has no door: its port is its entrance."""

    order: Message
    wire: Door
    door: Door | None
    log: EventLog

    def confine(
        self, confinement: Confinement, *, profile: str, keep: Iterable[int] = ()
    ) -> list[str]:
        """Leave this process what is named, its sockets and its events; what is missing of that.

        Raises ``ConfigError`` when something is, in production.
        """
        doors = [door.fileno() for door in (self.wire, self.door) if door is not None]
        missing = sorted(confine(confinement, keep=[STDERR, *doors, *keep]).missing)
        for protection in missing:
            self.log.emit(Event.PROTECTION_MISSING, {Field.PROTECTION: protection})
        if missing and profile == "production":
            raise ConfigError(
                f"this machine does not give a node {', '.join(missing)}",
                hint="a production node needs Linux 6.12 with Landlock and seccomp",
            )
        return [str(protection) for protection in missing]

    def ready(self, **more: Any) -> None:
        """Tell the launcher that this piece serves. From here on it says events only."""
        self.log.serves()
        self.wire.send({"kind": "ready", **more})


def main(arguments: Sequence[str]) -> None:
    """The steps above."""
    name, parent, wire, *door = arguments
    piece_name = PieceName(name)
    log = EventLog(_COMPONENTS[piece_name])
    body: Callable[[Piece], None] = import_module(_BODIES[piece_name]).run
    try:
        # 1.
        die_with_parent(int(parent))
        log.take_over_logging()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # 2.
        ours = Door.of(int(wire))
        order, descriptors = ours.receive()
        if descriptors:
            raise UsageError("an order comes without descriptors")
        # 3. to 5.
        body(Piece(order=order, wire=ours, door=Door.of(int(door[0])) if door else None, log=log))
    except EOFError:  # the launcher is gone
        pass
    except LanaiError as error:
        log.fail(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
