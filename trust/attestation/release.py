"""The release record: what an operator publishes in the log before any node may run it."""

import re
from dataclasses import dataclass, fields
from hashlib import sha256

from trust.strict import Fields, canonical, malformed, read_canonical

__all__ = ["DIGEST", "MAX_RELEASE_BYTES", "Release"]

MAX_RELEASE_BYTES = 4096
SCHEMA = "lanai.release/1"
DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEMA = re.compile(re.escape(SCHEMA))
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_MAX_CONTEXT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Software, weights and configuration (SHA-256, hex) and what they serve.

    ``context_tokens`` is the context of one request, prompt and answer.
    """

    software: str
    weights: str
    configuration: str
    model: str
    context_tokens: int

    def __post_init__(self) -> None:
        digests = (self.software, self.weights, self.configuration)
        if not all(DIGEST.fullmatch(digest) for digest in digests):
            raise malformed("a release names SHA-256 digests in lower-case hex")
        if _MODEL.fullmatch(self.model) is None or not 0 < self.context_tokens <= _MAX_CONTEXT:
            raise malformed("a release names a model and its context")

    def canonical(self) -> bytes:
        """The log leaf."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return canonical({"schema": SCHEMA, **values})

    def digest(self) -> str:
        """SHA-256 of the leaf, hex: the *measurement* people compare."""
        return sha256(self.canonical()).hexdigest()

    @classmethod
    def parse(cls, data: bytes) -> "Release":
        """Read a log leaf. Raises ``TrustError`` (``malformed``, ``too_large``)."""
        names = {"schema", *(field.name for field in fields(cls))}
        read = Fields.exactly(read_canonical(data, limit=MAX_RELEASE_BYTES), names)
        read.text("schema", _SCHEMA)
        return cls(
            software=read.text("software", DIGEST),
            weights=read.text("weights", DIGEST),
            configuration=read.text("configuration", DIGEST),
            model=read.text("model", _MODEL),
            context_tokens=read.number("context_tokens", low=1, high=_MAX_CONTEXT),
        )
