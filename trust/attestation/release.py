"""The release record: what an operator publishes in the log before any node may run it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256

from trust.attestation.evidence import KIND
from trust.strict import Fields, canonical, malformed, read_canonical

__all__ = ["DIGEST", "MAX_RELEASE_BYTES", "Release"]

MAX_RELEASE_BYTES = 32 * 1024
SCHEMA = "lanai.release/2"
DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEMA = re.compile(re.escape(SCHEMA))
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_MAX_CONTEXT = 2**31 - 1
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,255}")
_MAX_KINDS = 8
_MAX_GOLDEN = 96

Golden = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Software, weights and configuration (SHA-256, hex) and what they serve.

    ``context_tokens`` is the context of one request, prompt and answer. ``golden`` gives, by kind
    of evidence and name, what hardware evidence must measure: launch digests, PCR values, firmware.
    """

    software: str
    weights: str
    configuration: str
    model: str
    context_tokens: int
    golden: Golden = field(default_factory=dict)

    def __post_init__(self) -> None:
        digests = (self.software, self.weights, self.configuration)
        if not all(DIGEST.fullmatch(digest) for digest in digests):
            raise malformed("a release names SHA-256 digests in lower-case hex")
        if _MODEL.fullmatch(self.model) is None or not 0 < self.context_tokens <= _MAX_CONTEXT:
            raise malformed("a release names a model and its context")
        _check_golden(self.golden)

    def canonical(self) -> bytes:
        """The log leaf."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        golden = {kind: dict(values) for kind, values in self.golden.items()}
        return canonical({"schema": SCHEMA, **values, "golden": golden})

    def digest(self) -> str:
        """SHA-256 of the leaf, hex: the *measurement* people compare."""
        return sha256(self.canonical()).hexdigest()

    @classmethod
    def parse(cls, data: bytes) -> "Release":
        """Read a log leaf. Raises ``TrustError`` (``malformed``, ``too_large``)."""
        names = {"schema", *(item.name for item in fields(cls))}
        read = Fields.exactly(read_canonical(data, limit=MAX_RELEASE_BYTES), names)
        read.text("schema", _SCHEMA)
        return cls(
            software=read.text("software", DIGEST),
            weights=read.text("weights", DIGEST),
            configuration=read.text("configuration", DIGEST),
            model=read.text("model", _MODEL),
            context_tokens=read.number("context_tokens", low=1, high=_MAX_CONTEXT),
            golden=read.values["golden"],  # type: ignore[arg-type]  # checked where it is used
        )


def _check_golden(golden: object) -> None:
    """Kinds of names of values, each of its form and bounded."""
    if not isinstance(golden, Mapping) or len(golden) > _MAX_KINDS:
        raise malformed("golden values are by kind of evidence")
    for kind, values in golden.items():
        if KIND.fullmatch(kind) is None or not isinstance(values, Mapping):
            raise malformed("golden values are by kind of evidence")
        if not 0 < len(values) <= _MAX_GOLDEN:
            raise malformed("a kind has no or too many golden values")
        for name, value in values.items():
            if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
                raise malformed("a golden value is hex or a short word")
            if _NAME.fullmatch(name) is None:
                raise malformed("a golden value has a short lower-case name")
