"""The model on this device: its text side in this process, its engine in a child of its own.

Both are loaded on first need. A crashed engine fails the request it ran; the next one starts anew.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device_agent.availability import PartState
from inference.engine import Engine
from lanai.errors import ConfigError, LanaiError, ModelError

if TYPE_CHECKING:
    from inference.guided import Guide
    from inference.text import TextModel

__all__ = ["Device", "InstalledDevice", "Loader", "LocatedModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedModel:
    name: str
    path: Path
    weights_sha256: str


class Loader(Protocol):
    """Where the device's parts come from."""

    def locate(self) -> LocatedModel:
        """Raises ``ModelError`` when the model is not installed."""

    def load_text(self, model: LocatedModel) -> "TextModel":
        """Tokenizer and chat template. Raises ``ModelError``."""

    async def start(self, model: LocatedModel) -> Engine:
        """Start the engine's child process. Raises ``ModelError`` or ``EngineError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledDevice:
    """The real loader: a model of the catalog and the process engine."""

    model: str
    models_folder: Path
    context_tokens: int
    threads: int
    adapters_folder: Path | None = None
    draft_model: str | None = None

    def locate(self) -> LocatedModel:
        from inference.catalog import Catalog

        found = Catalog(self.models_folder).find(self.model)
        return LocatedModel(name=found.name, path=found.path, weights_sha256=found.sha256)

    def load_text(self, model: LocatedModel) -> "TextModel":
        from inference.text import load_text_model

        return load_text_model(model.path)

    async def start(self, model: LocatedModel) -> Engine:
        from inference.process import ProcessEngine

        return await ProcessEngine.start(
            model.path,
            context_tokens=self.context_tokens,
            threads=self.threads,
            weights_sha256=model.weights_sha256,
            adapters=self.adapters_folder,
            draft=await asyncio.to_thread(self._draft_for, model),
        )

    def _draft_for(self, model: LocatedModel) -> Path | None:
        """Raises ``ConfigError`` for one that knows other tokens: it would guess at random."""
        if self.draft_model is None:
            return None
        from inference.catalog import Catalog
        from inference.text import load_text_model

        draft = Catalog(self.models_folder).find(self.draft_model)
        if not self.load_text(model).tokens.same_tokens(load_text_model(draft.path).tokens):
            raise ConfigError(
                f"{draft.name} has other tokens than {model.name}",
                hint="device_draft_model: a smaller model of the same family, or leave it unset",
            )
        return draft.path


class Device:
    """One device model for all sessions of an agent. ``context_tokens``: prompt and answer."""

    def __init__(self, loader: Loader, *, context_tokens: int) -> None:
        self.context_tokens = context_tokens
        self._loader = loader
        self._lock = asyncio.Lock()
        self._model: LocatedModel | None = None
        self._text: TextModel | None = None
        self._guide: Guide | None = None
        self._engine: Engine | None = None

    async def state(self) -> PartState:
        """Whether the model's files are there and its text side loads. Never raises."""
        try:
            await self.text()
        except LanaiError as error:
            return PartState(ready=False, reason=error.message, hint=error.hint)
        return PartState(ready=True, reason=f"{self.model.name} is installed")

    @property
    def model(self) -> LocatedModel:
        """Known once ``text`` or ``engine`` returned."""
        if self._model is None:
            raise ModelError("the device model is not loaded yet")
        return self._model

    async def text(self) -> "TextModel":
        """Tokenizer and chat template. Raises ``ModelError``."""
        async with self._lock:
            if self._text is None:
                self._model, text = await asyncio.to_thread(self._load)
                self._text = text
                return text
            return self._text

    async def guide(self) -> "Guide":
        """For constrained answers; made when first needed. Raises ``ModelError``."""
        from inference.guided import Guide

        text = await self.text()
        async with self._lock:
            if self._guide is None:
                self._guide = await asyncio.to_thread(Guide.of, text)
            return self._guide

    async def engine(self) -> Engine:
        """The running engine, started when there is none. Raises ``ModelError``/``EngineError``."""
        await self.text()
        async with self._lock:
            if self._engine is None:
                self._engine = await self._loader.start(self.model)
            return self._engine

    async def discard(self, engine: Engine) -> None:
        """Drop an engine that crashed, so that the next request starts another."""
        async with self._lock:
            if self._engine is engine:
                self._engine = None
        await engine.close()

    async def close(self) -> None:
        async with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    def _load(self) -> tuple[LocatedModel, "TextModel"]:
        model = self._loader.locate()
        return model, self._loader.load_text(model)
