"""The engine's process: ``python -m inference.child FD [DOOR_FD]``, spoken to over sockets.

    1  take the owner's socket, and the door's; no core dump, no debugger, Ctrl-C is the owner's
    2  read the load order; with a door, which a node's engine has, give up all but the model
    3  load the model, say ``ready``, or ``unloadable`` with a code of the closed list
    4  serve, see ``inference.serving``, until the owner is gone or has retired us

It prints nothing. What goes wrong with a request is one word on the wire.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inference.caller import Caller
from inference.confining import engine_confinement
from inference.decoder_runner import DecoderRunner
from inference.dialogue import LoadFailure, LoadOrder, info_message, unloadable_message
from inference.door import Door
from inference.engine import EngineInfo
from inference.runner import Runner
from inference.scheduler import Scheduler
from inference.serving import RECEIVE_BYTES, Serving
from inference.wire import Message
from lanai.confinement import confine
from lanai.erasure import FreedMemory
from lanai.errors import (
    ConfigError,
    EngineCrashed,
    LanaiError,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
    UsageError,
)

if TYPE_CHECKING:
    from inference.adapters.memory import AdapterMemory
    from inference.decoder import Adapted, LanguageModel

__all__ = ["main"]

PR_SET_DUMPABLE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """``drafts``: the smaller model that guesses, where there is one."""

    runner: Runner
    info: EngineInfo
    drafts: Runner | None


def _load(order: LoadOrder) -> Loaded:
    """Its adapters, where it has a folder of them, are read when a request first names them."""
    import torch

    torch.set_num_threads(order.threads)
    torch.set_num_interop_threads(1)
    from inference.decoder import load_decoder

    decoder = load_decoder(order.model, context_tokens=order.context_tokens)
    info = EngineInfo(
        architecture=decoder.config.architecture,
        vocabulary=decoder.config.vocabulary,
        width=decoder.config.width,
        context_tokens=order.context_tokens,
        weights_sha256=order.weights_sha256,
        device=decoder.device.type,
        adapters=order.adapters is not None,
    )
    return Loaded(
        runner=DecoderRunner(decoder, _adapters(order, decoder)),
        info=info,
        drafts=_drafts(order, decoder),
    )


def _drafts(order: LoadOrder, decoder: "LanguageModel") -> Runner | None:
    if order.draft is None:
        return None
    from inference.decoder import load_decoder

    try:
        small = load_decoder(order.draft, context_tokens=order.context_tokens)
    except LanaiError as error:
        raise ConfigError("the draft model cannot be loaded") from error
    if small.config.vocabulary != decoder.config.vocabulary:
        raise ConfigError("the draft model has another vocabulary")
    return DecoderRunner(small)


def _adapters(order: LoadOrder, decoder: "LanguageModel") -> "AdapterMemory[Adapted] | None":
    if order.adapters is None:
        return None
    from inference.adapters import base_model_at, read_adapter
    from inference.adapters.memory import AdapterMemory

    base = base_model_at(order.model, sha256=order.weights_sha256)
    return AdapterMemory(
        order.adapters,
        lambda folder: decoder.adapted(read_adapter(folder, decoder.config, base=base)),
    )


def _failure(error: Exception) -> LoadFailure:
    match error:
        case ConfigError():
            return LoadFailure.DRAFT
        case ModelNotFound():
            return LoadFailure.NOT_FOUND
        case ModelFormatError():
            return LoadFailure.FORMAT
        case UnsupportedModel():
            return LoadFailure.UNSUPPORTED
        case UsageError():
            return LoadFailure.CONTEXT
        case MemoryError():
            return LoadFailure.NO_MEMORY
    return LoadFailure.INTERNAL


def _confine() -> None:
    """No core dump and no debugger may show a prompt; Linux only, best effort elsewhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _keep_only(model: Path, owner: Caller, door: Door) -> tuple[str, ...]:
    """Before torch has threads, which Landlock would not bind. What is missing."""
    keep = (owner.fileno(), door.fileno())
    return tuple(sorted(confine(engine_confinement(model), keep=keep).missing))


def _run(owner: Caller, door: Door | None) -> None:
    order = LoadOrder.parse(_first(owner))
    lacking = _keep_only(order.model, owner, door) if door else ()
    freed = FreedMemory() if door else None
    try:
        loaded = _load(order)
    except (LanaiError, MemoryError, OSError, RuntimeError, ImportError) as error:
        owner.send(unloadable_message(_failure(error)))
        return
    info = replace(loaded.info, lacking=lacking)
    # A node's engine never speculates: when tokens come would depend on whether the answer copies.
    scheduler = Scheduler(loaded.runner, speculation=door is None, drafts=loaded.drafts)
    serving = Serving(owner, scheduler, info, door, freed=freed)
    owner.send(info_message(info))
    serving.run()


def _first(owner: Caller) -> Message:
    while True:
        for message in owner.receive(bytearray(RECEIVE_BYTES)):
            return message


def _inherited(descriptor: str) -> socket.socket:
    end = socket.socket(fileno=int(descriptor))
    end.set_inheritable(False)
    return end


def main() -> None:
    """See the module's plan. Ends the process without running torch's own teardown."""
    owner, *rest = [_inherited(descriptor) for descriptor in sys.argv[1:3]]  # 1
    door = Door(rest[0]) if rest else None
    _confine()
    # The owner is gone, or speaks nonsense: either way there is nobody to serve.
    with contextlib.suppress(EOFError, OSError, BufferError, EngineCrashed):
        _run(Caller(owner), door)  # 2, 3, 4
    os._exit(0)


if __name__ == "__main__":
    main()
