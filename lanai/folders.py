"""Where Lanai keeps its files: the user's standard folders, or one folder named by ``LANAI_HOME``.

| folder    | holds                                                        |
|-----------|--------------------------------------------------------------|
| `models`  | models pulled from the catalog                                |
| `state`   | traces, ledger, token wallet, last checkpoint, trust root     |
| `config`  | the user's `lanai.toml`                                       |
| `runtime` | sockets and pid files of running clusters                     |
| `adapters`| adapters of the device's models, beside `models`              |
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import PlatformDirs

__all__ = ["Folders", "private_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    models: Path
    state: Path
    config: Path
    runtime: Path

    @property
    def adapters(self) -> Path:
        return self.models.parent / "adapters"

    @property
    def may_be_enrolled(self) -> bool:
        """False where `trust.updates.TrustRootStore` never kept anything; asked before `trust` is
        loaded at all. What cannot be looked at may be there: who reads it says what is wrong."""
        try:
            return (self.state / "trust").exists()
        except OSError:
            return True

    @classmethod
    def standard(cls, environ: Mapping[str, str] = os.environ) -> "Folders":
        """Folders of this user; nothing is created here."""
        if home := environ.get("LANAI_HOME"):
            return cls.below(Path(home).expanduser())
        dirs = PlatformDirs("lanai", appauthor=False)
        return cls(
            models=dirs.user_data_path / "models",
            state=dirs.user_state_path,
            config=dirs.user_config_path,
            # platformdirs warns and falls back to a shared folder where no session gives one.
            runtime=dirs.user_runtime_path
            if environ.get("XDG_RUNTIME_DIR")
            else dirs.user_state_path / "run",
        )

    @classmethod
    def below(cls, root: Path) -> "Folders":
        return cls(
            models=root / "models",
            state=root / "state",
            config=root / "config",
            runtime=root / "run",
        )


def private_folder(path: Path) -> Path:
    """Create ``path`` (and parents) readable by this user only; return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
