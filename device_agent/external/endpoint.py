"""Where the endpoint is and with which key it is asked, from settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lanai.errors import ConfigError
from lanai.settings import Settings

__all__ = ["Endpoint", "Key", "configured_endpoint"]

MOST_KEY_BYTES: Final = 4096
_HINT: Final = "for example https://api.example/v1, or http://127.0.0.1:8431/v1"


class Key:
    """A bearer key. ``repr`` and ``str`` do not show it; ``header`` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Raises ``ConfigError`` for what cannot stand in a header."""
        if not value or len(value.split()) != 1 or not (value.isascii() and value.isprintable()):
            raise ConfigError("the external key is not one word of printable ASCII")
        self._value = value

    def header(self) -> str:
        return f"Bearer {self._value}"

    def __repr__(self) -> str:
        return "<key>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """``url``: the base, such as ``https://api.example/v1``. Raises ``ConfigError``.

    Plain HTTP is for this machine alone.
    """

    url: str
    model: str
    key: Key | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        parts = _split(self.url)
        if parts.username is not None or parts.password is not None:
            raise ConfigError("external_url holds a name or a password", hint=_HINT)
        if parts.query or parts.fragment:
            raise ConfigError("external_url holds a query or a fragment", hint=_HINT)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ConfigError("external_url is neither https nor on this machine", hint=_HINT)
        object.__setattr__(self, "url", self.url.rstrip("/"))


def configured_endpoint(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> Endpoint | None:
    """``None`` where none is set. Raises ``ConfigError``."""
    if settings.external_url is None:
        return None
    if settings.external_model is None:
        raise ConfigError("external_url is set without external_model", hint="name its model")
    return Endpoint(
        url=settings.external_url,
        model=settings.external_model,
        key=_key(settings, environ),
        timeout_s=settings.external_timeout_s,
    )


def _key(settings: Settings, environ: Mapping[str, str]) -> Key | None:
    """From a file or from the variable that is named; never a setting, which would be shown."""
    if settings.external_key_file is not None:
        return Key(_first_line(settings.external_key_file))
    name = settings.external_key_variable
    if name is None:
        return None
    if name not in environ:
        raise ConfigError(f"the variable {name} of external_key_variable is not set")
    return Key(environ[name].strip())


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cannot read a key from {path}", hint="one line of ASCII") from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise ConfigError("external_url is not a URL", hint=_HINT)
    return parts


def _is_here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False
