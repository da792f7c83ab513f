"""Digest of what decides how a node treats requests: settings, interpreter, library versions."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path
from typing import Final

from trust.strict import malformed

__all__ = ["DEPENDENCIES", "MeasuredSettings", "measure_configuration"]

DEPENDENCIES: Final = (
    "cryptography",
    "grpcio",
    "jinja2",
    "msgpack",
    "numpy",
    "protobuf",
    "pydantic",
    "redis",
    "safetensors",
    "tokenizers",
    "torch",
)
"""Libraries that touch a plain request or its keys. By version: the lock file pins their bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSettings:
    """What of a node's configuration is measured; names, addresses and credentials are not."""

    profile: str
    model_name: str
    context_tokens: int
    key_lifetime_s: int
    max_live: int
    request_timeout_s: float

    @classmethod
    def of(cls, values: Mapping[str, object]) -> "MeasuredSettings":
        """Out of a node's configuration file. Raises ``TrustError`` (``malformed``)."""
        timeout = values.get("request_timeout_s")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise malformed("request_timeout_s is no number")
        return cls(
            profile=_text(values, "profile"),
            model_name=_text(values, "model_name"),
            context_tokens=_number(values, "context_tokens"),
            key_lifetime_s=_number(values, "key_lifetime_s"),
            max_live=_number(values, "max_live"),
            request_timeout_s=float(timeout),
        )


def measure_configuration(settings: MeasuredSettings, *, tree: Path | None = None) -> str:
    """SHA-256 (hex) of the settings, this interpreter's version and those of the libraries.

    ``tree`` is a folder of installed packages to look in; by default this program's own.
    """
    value = {
        **asdict(settings),
        "python": platform.python_version(),
        "dependencies": {name: _version(name, tree) for name in DEPENDENCIES},
    }
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _version(name: str, tree: Path | None) -> str:
    if tree is not None:
        found = next(iter(Distribution.discover(name=name, path=[str(tree)])), None)
        return "absent" if found is None else found.version
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise malformed(f"{name} is no text")
    return value


def _number(values: Mapping[str, object], name: str) -> int:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"{name} is no integer")
    return value
