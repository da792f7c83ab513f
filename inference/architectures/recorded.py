"""A ``DecoderConfig`` as JSON and back: how packed models carry their settings."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from inference.architectures.config import DecoderConfig, LayerShape, Rope, checked_layers
from lanai.errors import ModelFormatError

__all__ = ["config_from_json", "config_to_json"]

_DAMAGED: Final = "the file is damaged: pack or pull the model again"
R = TypeVar("R", DecoderConfig, LayerShape, Rope)


def config_to_json(config: DecoderConfig) -> dict[str, Any]:
    """Plain values; layers of one shape after each other are written once, with their count."""
    values = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "shapes"
    }
    runs: list[dict[str, Any]] = []
    for shape in config.shapes:
        plain = dataclasses.asdict(shape)
        if runs and runs[-1]["shape"] == plain:
            runs[-1]["layers"] += 1
        else:
            runs.append({"layers": 1, "shape": plain})
    return {**values, "shapes": runs}


def config_from_json(values: object) -> DecoderConfig:
    """Raises ``ModelFormatError`` for a missing, additional or mistyped setting."""
    settings = _mapping(values)
    runs = settings.pop("shapes", None)
    if not isinstance(runs, list):
        raise _wrong("shapes")
    shapes: list[LayerShape] = []
    for run in runs:
        count, shape = _run(run)
        checked_layers(len(shapes) + count)
        shapes += [shape] * count
    return _record(DecoderConfig, settings | {"shapes": tuple(shapes)})


def _run(value: object) -> tuple[int, LayerShape]:
    run = _mapping(value)
    count = run.pop("layers", None)
    shape = _mapping(run.pop("shape", None))
    if type(count) is not int or count < 1 or run:
        raise _wrong("layers")
    shape["rope"] = _record(Rope, _mapping(shape.get("rope")))
    return checked_layers(count), _record(LayerShape, shape)


def _record(kind: type[R], values: dict[str, Any]) -> R:
    wanted = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in wanted or not _fits(value, wanted[name]):
            raise _wrong(name)
    try:
        return kind(**values)
    except TypeError as error:
        raise ModelFormatError("the packed model's settings lack a key", hint=_DAMAGED) from error


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong("decoder")
    return dict(value)


def _wrong(name: str) -> ModelFormatError:
    return ModelFormatError(
        f"the packed model's settings hold a wrong value for {name}", hint=_DAMAGED
    )
