"""Who may speak to the server: judged before a byte of a request's body is read.

1. Host: a web page whose name was rebound to this address still sends its own name, so only
   this machine's names and the bound address are heard.
2. Origin: a browser adds it to what pages send; none is heard but those the user allowed.
3. Key: when the server has one, as ``Authorization: Bearer``, compared in constant time.
"""

import hmac
import ipaddress
from dataclasses import dataclass, field

from starlette.datastructures import Headers

from device_agent.serving.problems import Problem
from lanai.errors import ConfigError

__all__ = ["Guard", "is_loopback"]

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """``host`` is the bound address; ``origins`` such as ``http://localhost:8000``."""

    host: str
    key: str | None = field(default=None, repr=False)
    origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and self.key is None:
            raise ConfigError(
                "the server leaves this machine's loopback only with a key",
                hint="set serve_key_file, or bind 127.0.0.1",
            )
        for origin in self.origins:
            if not _is_origin(origin):
                raise ConfigError(
                    "an allowed origin is scheme, host and port, nothing else",
                    hint="for example http://localhost:8000",
                )

    def judge(self, headers: Headers, *, method: str) -> Problem | None:
        """What is wrong with the request, if anything. A browser's preflight carries no key."""
        if not self._names_us(headers):
            return _refused(421, "unknown_host", "this server does not answer to that host name")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            return _refused(403, "origin_not_allowed", "pages of this origin are not answered")
        keyless = self.key is None or (method == "OPTIONS" and origin is not None)
        if not keyless and not self._holds_key(headers):
            return Problem(
                status=401,
                type="authentication_error",
                code="invalid_api_key",
                message="the key is missing or wrong",
                hint="send the key of serve_key_file as a bearer token",
            )
        return None

    def _names_us(self, headers: Headers) -> bool:
        named = headers.getlist("host")
        if len(named) != 1:
            return False
        name = _without_port(named[0].lower())
        return name in LOCAL_NAMES or name == _in_a_url(self.host)

    def _holds_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        expected = (self.key or "").encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), expected)


def is_loopback(host: str) -> bool:
    """Whether ``host`` (an address, or ``localhost``) is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            "the server binds an address, or localhost", hint="for example 127.0.0.1"
        ) from None
    if address.is_unspecified:
        raise ConfigError(
            "an address of every interface names no host to answer to",
            hint="bind the one address that is meant",
        )
    return address.is_loopback


def _in_a_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(authority: str) -> str:
    name, colon, port = authority.rpartition(":")
    return name if colon and (port.isdigit() or not port) else authority


def _is_origin(text: str) -> bool:
    scheme, _, authority = text.partition("://")
    return scheme in DEFAULT_PORTS and bool(authority) and not set(authority) & set("/?#@ *")


def _refused(status: int, code: str, message: str) -> Problem:
    return Problem(status=status, type="invalid_request_error", code=code, message=message)
