"""What a cluster is to be: decided and checked before anything is started."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cloud_node.cluster.users import STANDARD_UIDS, UidRange
from inference.catalog import Catalog, superseded
from lanai.errors import CloudUnavailable, ConfigError
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["ClusterPlan", "Profile", "require_profile"]

Profile = Literal["development", "production"]

OVERHEAD_BYTES: Final = 1200 * 2**20
"""Ray, and the other processes of a cluster on one host."""
WEIGHTS_FACTOR: Final = 1.3
"""The weights in memory, with cache and buffers, to their size on disk."""
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """One development cluster on this host."""

    profile: Profile
    model_name: str
    model_folder: Path
    model_bytes: int
    context_tokens: int
    threads: int
    uids: UidRange = STANDARD_UIDS
    """Whom its parts run as, where root starts them."""
    superseded: bool = False
    """The catalog lists other weights under this name by now."""
    supervised: bool = True
    """Ray keeps the node alive. Without it a node that dies stays dead: for tests."""

    @classmethod
    def make(cls, settings: Settings, folders: Folders, *, profile: Profile) -> "ClusterPlan":
        """Raises ``ConfigError`` (profile), ``ModelNotFound``, ``CloudUnavailable`` (memory)."""
        require_profile(profile)
        model = Catalog(folders.models).find(settings.cloud_model)
        if not model.path.is_dir():
            raise ConfigError(
                "a node measures a model's folder, and cloud_model is a single file",
                hint="`lanai models pull FILE` installs it as a model of its own",
            )
        plan = cls(
            profile=profile,
            model_name=model.name,
            model_folder=model.path,
            model_bytes=model.bytes,
            superseded=superseded(settings.cloud_model, model),
            context_tokens=settings.cloud_context_tokens,
            threads=settings.cloud_threads,
            uids=UidRange.parse(settings.cloud_uids),
        )
        plan.require_memory(available_bytes())
        return plan

    def require_memory(self, available: int) -> None:
        """Raises ``CloudUnavailable`` when the node would not fit in ``available`` bytes."""
        needed = int(self.model_bytes * WEIGHTS_FACTOR) + OVERHEAD_BYTES
        if available < needed:
            raise CloudUnavailable(
                f"{self.model_name} needs about {needed >> 20} MiB, {available >> 20} MiB are free",
                hint="close something, or set cloud_model to a smaller model",
            )


def require_profile(profile: Profile) -> None:
    """Only what can be kept is promised. Raises ``ConfigError`` for production."""
    if profile == "production":
        raise ConfigError(
            "this build cannot run a production cluster: its only evidence is unsafe_software, "
            "which production refuses",
            hint="use --profile development for trying things out",
        )


def available_bytes() -> int:
    """Memory that can still be had on this host and in this control group."""
    lines = _MEMINFO.read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return free
    return min(free, limit - used)
