"""Typed reads of a ``config.json``: whatever is missing or of another kind is named."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeGuard

from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["FETCH_AGAIN", "Fields"]

FETCH_AGAIN: Final = "fetch the model again, or write config.json as its makers publish it"
_ACTIVATIONS: Final[Mapping[str, Literal["silu", "gelu_tanh"]]] = {
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}


class Fields:
    """One JSON object. ``null`` counts as missing. Every read raises ``ModelFormatError``."""

    def __init__(self, values: object, *, of: str = "config.json") -> None:
        if not isinstance(values, Mapping):
            raise ModelFormatError(f"{of} is not a JSON object", hint=FETCH_AGAIN)
        self._values = values
        self._of = of

    @property
    def empty(self) -> bool:
        return not self._values

    def has(self, key: str) -> bool:
        return self._values.get(key) is not None

    def whole(self, key: str, default: int | None = None) -> int:
        """An integer; sizes are checked where they are used together."""
        value = self._read(key, default)
        if not _whole(value):
            raise self.wrong(key, "a whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        return self._number(key, self._read(key, default))

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._read(key, default)
        if type(value) is not bool:
            raise self.wrong(key, "true or false")
        return value

    def word(self, key: str, default: str | None = None) -> str:
        value = self._read(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a name")
        return value

    def wholes(self, key: str) -> list[int]:
        items = self._items(key)
        if not all(map(_whole, items)):
            raise self.wrong(key, "a list of whole numbers")
        return items

    def reals(self, key: str) -> list[float]:
        """The numbers of a list; a number alone is a list of one."""
        value = self._read(key, None)
        items = value if isinstance(value, list) else [value]
        return [self._number(key, item) for item in items]

    def words(self, key: str) -> list[str]:
        items = self._items(key)
        if not all(isinstance(item, str) for item in items):
            raise self.wrong(key, "a list of names")
        return items

    def part(self, key: str) -> "Fields":
        """An object inside this one; one without settings when it is missing."""
        return Fields(self._read(key, {}), of=f"{key} of {self._of}")

    def activation(self, key: str, default: str) -> Literal["silu", "gelu_tanh"]:
        """Raises ``UnsupportedModel`` for another one."""
        name = self.word(key, default)
        if name not in _ACTIVATIONS:
            raise UnsupportedModel(
                f"activation {name!r} is not built here",
                hint="built: " + ", ".join(sorted(_ACTIVATIONS)),
            )
        return _ACTIVATIONS[name]

    def refuse(self, *keys: str) -> None:
        """Raises ``UnsupportedModel`` when one is on: it would change the numbers."""
        for key in keys:
            if self._values.get(key):
                raise UnsupportedModel(
                    f"models with {key} are not built here", hint="take a model without it"
                )

    def wrong(self, key: str, wanted: str) -> ModelFormatError:
        """The error for a setting that is not what it should be."""
        return ModelFormatError(f"{key} of {self._of} is not {wanted}", hint=FETCH_AGAIN)

    def _items(self, key: str) -> list[Any]:
        items = self._read(key, None)
        if not isinstance(items, list):
            raise self.wrong(key, "a list")
        return items

    def _number(self, key: str, value: object) -> float:
        if _whole(value):
            return float(value)
        if type(value) is not float or not math.isfinite(value):
            raise self.wrong(key, "a finite number")
        return value

    def _read(self, key: str, default: object) -> Any:
        value = self._values.get(key)
        if value is None and default is None:
            raise ModelFormatError(f"{self._of} lacks {key}", hint=FETCH_AGAIN)
        return default if value is None else value


def _whole(value: object) -> TypeGuard[int]:
    """An integer, no boolean, that arithmetic with real numbers keeps as it is."""
    return type(value) is int and abs(value) < 1 << 53
