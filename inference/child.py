"""The engine's process: ``python -m inference.child FD``, spoken to over the inherited socket.

    1  take the socket; no core dump, no debugger, Ctrl-C is the parent's business
    2  read the load order
    3  load the model, say ``ready``, or ``unloadable`` with a code of the closed list
    4  serve until the parent is gone

It prints nothing. What goes wrong with a request is one word on the wire.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.dialogue import (
    LoadFailure,
    LoadOrder,
    Submission,
    info_message,
    outcome_message,
    parse_mask,
    unloadable_message,
)
from inference.engine import EngineInfo
from inference.runner import Prediction, Runner, Slot
from inference.scheduler import Outcomes, Scheduler
from inference.wire import FrameReader, Message, encode
from lanai.errors import (
    EngineCrashed,
    EngineError,
    LanaiError,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
    UsageError,
)

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["Link", "main", "serve"]

RECEIVE_BYTES: Final = 1 << 16
PR_SET_DUMPABLE: Final = 4


class Link:
    """The child's end of the socket: blocking, whole messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = FrameReader()

    def receive(self, *, wait: bool) -> Iterator[Message]:
        """Messages that have come. Raises ``EOFError`` when the parent is gone."""
        if not wait and not select.select([self._socket], [], [], 0)[0]:
            return
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise EOFError
        yield from self._reader.feed(data)

    def send(self, message: Message) -> None:
        frame = encode(message)
        self._socket.sendall(frame)
        frame[:] = bytes(len(frame))


def serve(link: Link, scheduler: Scheduler) -> None:
    """Run requests until the parent is gone (``EOFError``, ``OSError``)."""
    while True:
        for message in link.receive(wait=scheduler.idle):
            _tell(link, _handle(scheduler, message))
        _tell(link, scheduler.step())


def _handle(scheduler: Scheduler, message: Message) -> Outcomes:
    match message.kind:
        case "submit":
            order = Submission.parse(message)
            scheduler.submit(
                order.request_id, order.prompt, order.options, constrained=order.constrained
            )
        case "mask":
            scheduler.give_mask(*parse_mask(message))
        case "cancel":
            yield from scheduler.cancel(message.fields["request"])
        case _:
            raise EngineCrashed("unexpected message from the parent")


def _tell(link: Link, outcomes: Outcomes) -> None:
    for request_id, outcome in outcomes:
        link.send(outcome_message(request_id, outcome))


class DecoderRunner:
    """A ``Runner`` over ``inference.decoder``."""

    def __init__(self, decoder: "LanguageModel") -> None:
        self._decoder = decoder

    def begin(self, prompt: int, answer: int) -> Slot:
        with _torch_errors():
            return DecoderSlot(self._decoder, self._decoder.new_cache(prompt + answer))


class DecoderSlot:
    """A ``Slot`` over the decoder's cache."""

    def __init__(self, decoder: "LanguageModel", cache: Any) -> None:
        self._decoder = decoder
        self._cache = cache

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        import torch

        with torch.inference_mode(), _torch_errors():
            out = self._decoder.forward(torch.from_numpy(ids.astype(np.int64)), self._cache)
            return Prediction(
                logits=out.logits[-1].float().cpu().numpy(), hidden=out.hidden.float().cpu().numpy()
            )

    def wipe(self) -> None:
        self._cache.wipe()


@contextlib.contextmanager
def _torch_errors() -> Iterator[None]:
    """torch says everything with ``RuntimeError``; its text may hold shapes made from content."""
    try:
        yield
    except RuntimeError as error:
        if "alloc" in str(error).lower():
            raise MemoryError from None
        raise EngineError("the model failed") from None


def _load(order: LoadOrder) -> tuple[Runner, EngineInfo]:
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
    )
    return DecoderRunner(decoder), info


def _failure(error: Exception) -> LoadFailure:
    match error:
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


def _run(link: Link) -> None:
    order = LoadOrder.parse(_first(link))
    try:
        runner, info = _load(order)
    except (LanaiError, MemoryError, OSError, RuntimeError, ImportError) as error:
        link.send(unloadable_message(_failure(error)))
        return
    link.send(info_message(info))
    serve(link, Scheduler(runner))


def _first(link: Link) -> Message:
    while True:
        for message in link.receive(wait=True):
            return message


def main() -> None:
    """See the module's plan. Ends the process without running torch's own teardown."""
    end = socket.socket(fileno=int(sys.argv[1]))  # 1
    end.set_inheritable(False)
    _confine()
    # The parent is gone, or speaks nonsense: either way there is nobody to serve.
    with contextlib.suppress(EOFError, OSError, EngineCrashed):
        _run(Link(end))  # 2, 3, 4
    os._exit(0)


if __name__ == "__main__":
    main()
