"""The engine as a piece: started with a door, replaced before it grows old."""

from pathlib import Path

from cloud_node.node.config import NodeConfig
from cloud_node.tree.doors import Door
from cloud_node.tree.piece_process import ENVIRONMENT
from inference.dialogue import info_message
from inference.process import ProcessEngine
from lanai.errors import ConfigError

__all__ = ["EngineProcess"]


class EngineProcess:
    """Made by ``start``. ``entrance`` is the out-end of its door."""

    def __init__(self, engine: ProcessEngine, entrance: Door) -> None:
        self._engine = engine
        self.entrance = entrance

    @classmethod
    async def start(cls, config: NodeConfig) -> "EngineProcess":
        """Raises what ``ProcessEngine.start`` raises, and ``ConfigError`` as ``Piece.confine``."""
        entrance, door = Door.pair()
        try:
            with door.socket:
                engine = await ProcessEngine.start(
                    Path(config.model_folder),
                    context_tokens=config.context_tokens,
                    threads=config.threads,
                    door=door.socket,
                    environment=ENVIRONMENT,
                    processors=config.engine_processors,
                )
        except BaseException:
            entrance.close()
            raise
        started = cls(engine, entrance)
        if started.lacking and config.profile == "production":
            await started.close()
            raise ConfigError("this machine does not give an engine what production needs")
        return started

    @property
    def lacking(self) -> tuple[str, ...]:
        """Protections that its process is without: words of `Protection`."""
        return self._engine.info.lacking

    @property
    def pid(self) -> int:
        return self._engine.pid

    @property
    def info(self) -> dict[str, object]:
        """``EngineInfo`` as a message carries it."""
        return info_message(self._engine.info).fields

    async def ended(self) -> int:
        """Its exit code, as soon as it has one."""
        return await self._engine.ended()

    async def retire(self) -> None:
        """Take nobody new in; it ends with its last request."""
        self.entrance.close()
        await self._engine.retire()

    async def close(self) -> None:
        """End it, with what it still does. Idempotent."""
        self.entrance.close()
        await self._engine.close()
