"""The process tree of one node: started, watched, mended, drained, ended.

1. Start keyholder, zygote and engine side by side; connect zygote to engine, keyholder to zygote.
2. When the keyholder has measured what runs here, start the front with the release, connect it to
   the keyholder, and wait until it is announced.
3. Whatever ends unasked is started again and connected anew; the front takes nothing meanwhile. Its
   requests fail, everybody else's go on. What ends again and again ends the tree.
4. The engine is replaced when its time is over: new requests go to the new one, and the old
   one ends with its last request.
5. Drain: the front takes nothing new. Stop: it lets live requests finish; then all end.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cloud_node.events import Event, EventLog, Field
from cloud_node.node.config import NodeConfig
from cloud_node.processors import keep_off
from cloud_node.tree.doors import Message
from cloud_node.tree.engine_process import EngineProcess
from cloud_node.tree.piece_process import PieceProcess
from cloud_node.tree.state import NodeState, PieceName
from lanai.errors import CloudUnavailable, LanaiError

__all__ = ["NodeTree"]

SILENCE_S: Final = 5.0
"""A front that reports nothing for this long is unresponsive (it reports twice a second)."""
PATIENCE: Final = 5
"""Restarts within a minute after which the tree gives up."""
MINUTE_S: Final = 60.0
BACKOFF_S: Final = 0.2

EDGES: Final = (
    (PieceName.FRONT, PieceName.KEYHOLDER),
    (PieceName.KEYHOLDER, PieceName.ZYGOTE),
    (PieceName.ZYGOTE, PieceName.ENGINE),
)
"""Who sends through whose door."""

AnyPiece = PieceProcess | EngineProcess


class NodeTree:
    """One run of a node. A new run is a new object. ``clock`` is monotonic, in seconds."""

    def __init__(self, log: EventLog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._config: NodeConfig | None = None
        self._events: Path | None = None
        self._release: bytes | None = None
        self._pieces: dict[PieceName, AnyPiece] = {}
        self._serving: set[PieceName] = set()
        self._lacking: dict[PieceName, tuple[str, ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts: deque[float] = deque(maxlen=PATIENCE)
        self._heard = clock()
        self._stopping = self._draining = self._died = False
        self.live = 0
        self.address: str | None = None
        self.node_id: str | None = None

    @property
    def pieces(self) -> dict[str, int]:
        """Process ids by name, of the pieces that run."""
        return {str(name): piece.pid for name, piece in self._pieces.items()}

    @property
    def missing(self) -> list[str]:
        """Protections that this machine does not give to some piece: words of `Protection`."""
        return sorted({word for words in self._lacking.values() for word in words})

    @property
    def state(self) -> NodeState:
        if self._config is None:
            return NodeState.STOPPED
        if self._died:
            return NodeState.STOPPED if self._stopping else NodeState.DIED
        if self._stopping:
            return NodeState.STOPPING if self._pieces else NodeState.STOPPED
        if self.address is None:
            return NodeState.STARTING
        if self._clock() - self._heard > SILENCE_S:
            return NodeState.UNRESPONSIVE
        return NodeState.DRAINING if self._draining else NodeState.RUNNING

    async def start(self, config: NodeConfig, *, log: Path | None, within_s: float) -> None:
        """Start the node and wait until it is announced. Raises ``CloudUnavailable``.

        ``log`` is what its events are appended to; ``None`` is our own standard error.
        """
        self._config, self._events = config, log
        try:
            keep_off(config.engine_processors)
            async with asyncio.timeout(within_s):
                # 1.
                await asyncio.gather(
                    *(self._begin(name) for name in PieceName if name is not PieceName.FRONT)
                )
                # 2.
                await self._begin(PieceName.FRONT)
        except (TimeoutError, LanaiError) as error:
            self._log.emit(Event.FAILED, error=error)
            await self.stop(within_s=0)
            raise CloudUnavailable(
                "the node did not become ready", hint="its log says which step failed"
            ) from None
        # 4.
        self._own(self._renew_engine())

    def drain(self) -> None:
        """Have the node take nothing new. It goes on with what it has."""
        # 5.
        self._draining = True
        self._tell_front({"kind": "drain"})

    async def stop(self, *, within_s: float) -> None:
        """Live requests may finish for ``within_s`` seconds; then all pieces end. Idempotent."""
        self._stopping = True
        self._tell_front({"kind": "stop"})
        if (front := self._pieces.get(PieceName.FRONT)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await front.ended()
        await self._end_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, name: PieceName) -> None:
        """Start a piece, connect it, and watch it from then on."""
        if name is PieceName.ENGINE:
            self._pieces[name] = await EngineProcess.start(self._settings)
        else:
            self._pieces[name] = await PieceProcess.spawn(name, self._order(name), log=self._events)
        piece = self._pieces[name]
        if isinstance(piece, EngineProcess):
            self._lacking[name] = piece.lacking
        if isinstance(piece, PieceProcess) and name is not PieceName.FRONT:
            self._accept(name, await piece.hear())
        self._connect(name)
        if isinstance(piece, PieceProcess) and name is PieceName.FRONT:
            ready = await piece.hear()
            self._lacking[name] = tuple(ready["lacking"])
            self._note(ready)
            self._own(self._listen(piece))
        self._serving.add(name)
        self._tell_missing()
        self._log.emit(Event.PIECE_STARTED, {Field.PIECE: name})
        # 3.
        self._own(self._watch(name, piece))

    def _accept(self, name: PieceName, ready: Message) -> None:
        """Take in what a piece said when it was ready. Raises ``CloudUnavailable``."""
        self._lacking[name] = tuple(ready["lacking"])
        if name is not PieceName.KEYHOLDER:
            return
        if self._release not in (None, ready["release"]):
            # The front shows the old record, and nobody would believe it any more.
            self._restarts.extend([self._clock()] * PATIENCE)
            raise CloudUnavailable("what is installed has changed", hint="start the node anew")
        self._release = ready["release"]

    def _connect(self, name: PieceName) -> None:
        for sender, owner in EDGES:
            upper, lower = self._pieces.get(sender), self._pieces.get(owner)
            if name in (sender, owner) and isinstance(upper, PieceProcess) and lower is not None:
                more = {"info": lower.info} if isinstance(lower, EngineProcess) else {}
                upper.tell({"kind": "connect", **more}, lower.entrance)

    async def _watch(self, name: PieceName, piece: AnyPiece) -> None:
        code = await piece.ended()
        if self._stopping or self._pieces.get(name) is not piece:
            return
        self._log.emit(Event.PIECE_ENDED, {Field.PIECE: name, Field.EXIT_CODE: code})
        self._serving.discard(name)
        self._tell_missing()
        await piece.close()
        mended = False
        while not (self._stopping or mended):
            await asyncio.sleep(BACKOFF_S)
            mended = await self._mended(name)

    async def _mended(self, name: PieceName) -> bool:
        """Whether no more is to be done for this piece."""
        now = self._clock()
        if len(self._restarts) == PATIENCE and now - self._restarts[0] < MINUTE_S:
            self._died = True
            await self._end_all()
            return True
        self._restarts.append(now)
        try:
            await self._begin(name)
        except LanaiError as error:
            self._log.emit(Event.FAILED, {Field.PIECE: name}, error=error)
            if (left := self._pieces.pop(name, None)) is not None:
                await left.close()
            return False
        return True

    async def _renew_engine(self) -> None:
        settings = self._settings
        while True:
            await asyncio.sleep(settings.engine_lifetime_s)
            try:
                successor = await EngineProcess.start(settings)
            except LanaiError as error:
                self._log.emit(Event.FAILED, {Field.PIECE: PieceName.ENGINE}, error=error)
                continue
            retired = self._pieces.get(PieceName.ENGINE)
            self._pieces[PieceName.ENGINE] = successor
            self._connect(PieceName.ENGINE)
            self._own(self._watch(PieceName.ENGINE, successor))
            self._log.emit(Event.ENGINE_REPLACED)
            if isinstance(retired, EngineProcess):
                self._own(self._see_off(retired))

    async def _see_off(self, engine: EngineProcess) -> None:
        """Let a retired engine finish what it has."""
        try:
            await engine.retire()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.request_timeout_s):
                    await engine.ended()
        finally:
            await engine.close()

    async def _listen(self, front: PieceProcess) -> None:
        with suppress(CloudUnavailable):
            while True:
                self._note(await front.hear())

    def _note(self, word: Message) -> None:
        """What the front reports of itself."""
        self._heard = self._clock()
        self.address, self.node_id = word["address"], word["node_id"]
        self.live = word["live"]
        self._draining = self._draining or word["draining"]

    def _tell_missing(self) -> None:
        missing = [str(name) for name in PieceName if name not in self._serving]
        self._tell_front(
            {"kind": "missing", "pieces": [name for name in missing if name != PieceName.FRONT]}
        )

    def _tell_front(self, message: Message) -> None:
        front = self._pieces.get(PieceName.FRONT)
        if isinstance(front, PieceProcess):
            front.tell(message)

    async def _end_all(self) -> None:
        pieces = [self._pieces.pop(name) for name in list(self._pieces)]
        await asyncio.gather(*(piece.close() for piece in pieces))
        self.live = 0

    def _order(self, name: PieceName) -> Message:
        """The configuration of one piece: what it needs, and no credential that it does not."""
        config = self._settings
        if name is PieceName.ZYGOTE:
            wanted = (
                *("model_folder", "model_name", "context_tokens", "request_timeout_s"),
                "profile",
            )
            return {key: getattr(config, key) for key in wanted}
        if name is PieceName.KEYHOLDER:
            return {"config": config.model_copy(update={"store_url": ""}).model_dump_json()}
        return {"config": config.model_dump_json(), "release": self._release}

    @property
    def _settings(self) -> NodeConfig:
        if self._config is None:
            raise CloudUnavailable("the node was not started")
        return self._config

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
