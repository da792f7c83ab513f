"""Answers as typed values: what `into=` takes, the form it gives, the value read back.

Pydantic model or any type Pydantic knows ──▶ JSON Schema ──▶ text ──▶ validated value
dict (a JSON Schema), Regex, Choices      ──▶ form        ──▶ text ──▶ JSON value or text
"""

import re
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json

from inference.guided import Choices, FormCheck, JsonSchema, OutputForm, Regex
from lanai.content import Content
from lanai.errors import UsageError, ValidationFailed

__all__ = ["Target", "schema_of", "target_of"]

T = TypeVar("T")

_UNFINISHED: Final = re.compile(r"[-+.\w]+$")
_NOT_ENFORCED: Final = "uniqueItems"
"""Pydantic judges it afterwards: a set takes repetitions."""


class Target(Generic[T]):
    """What one answer is to become. ``form`` ``None``: text as it is."""

    form: OutputForm | None = None

    def value(self, text: Content) -> T:
        """Raises ``ValidationFailed`` for a text that is not of the form."""
        return cast(T, text)

    def partial(self, text: str) -> Any:
        """The parts of the value that are whole so far; ``None`` where there are none."""
        return None


class FormTarget(Target[Any]):
    """A form without a type: its value is JSON, or the text itself."""

    def __init__(self, form: OutputForm) -> None:
        """Raises ``UsageError`` for a form that cannot be enforced."""
        self.form = form
        self._check = FormCheck(form)

    def value(self, text: Content) -> Any:
        if not self._check.accepts(text):
            raise _not_of_form()
        return from_json(text) if isinstance(self.form, JsonSchema) else text

    def partial(self, text: str) -> Any:
        return whole_parts(text) if isinstance(self.form, JsonSchema) else None


class TypedTarget(Target[T]):
    """A type that Pydantic validates."""

    def __init__(self, kind: type[T] | TypeAdapter[T]) -> None:
        """Raises ``UsageError`` for a type without a JSON Schema."""
        self._kind = kind
        self._adapter: TypeAdapter[T] = _adapter(kind)
        self.form = JsonSchema(schema=schema_of(kind))
        FormCheck(self.form)

    def value(self, text: Content) -> T:
        try:
            return self._adapter.validate_json(text)
        except ValidationError:  # quotes its input
            raise _not_of_form() from None

    def partial(self, text: str) -> Any:
        parts = whole_parts(text)
        kind = self._kind
        if not (isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(parts, dict)):
            return parts
        return {
            name: _typed(kind.model_fields[name].rebuild_annotation(), part)
            for name, part in parts.items()
            if name in kind.model_fields
        }


def target_of(into: object) -> Target[Any]:
    """Raises ``UsageError`` for what has no form."""
    match into:
        case None:
            return Target()
        case TypeAdapter():
            return TypedTarget(into)
        case JsonSchema() | Regex() | Choices():
            return FormTarget(into)
        case dict():
            return FormTarget(JsonSchema(schema=into))
        case _:
            return TypedTarget(cast(type[Any], into))


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type, without room for properties that nobody named.

    Raises ``UsageError``.
    """
    try:
        schema = _adapter(kind).json_schema()
    except (PydanticUserError, ValueError):
        raise _no_schema() from None
    _close(schema)
    return schema


def whole_parts(text: str) -> Any:
    """The JSON value begun in ``text``, without what may still change: its last number or word."""
    try:
        return from_json(_UNFINISHED.sub("", text), allow_partial=True)
    except ValueError:
        return None


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if isinstance(kind, TypeAdapter):
        return kind
    try:
        return TypeAdapter(kind)
    except (PydanticUserError, TypeError, NameError):
        raise _no_schema() from None


def _typed(kind: Any, part: Any) -> Any:
    """The part as its field's own type, once it is one."""
    try:
        return TypeAdapter(kind).validate_python(part)
    except ValidationError:
        return part


def _close(schema: Any) -> None:
    """A model left to invent property names does."""
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        schema.setdefault("additionalProperties", False)
    schema.pop(_NOT_ENFORCED, None)
    for word in ("properties", "$defs"):
        for inner in schema.get(word, {}).values():
            _close(inner)
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(word, ()):
            _close(inner)
    for word in ("items", "additionalProperties"):
        _close(schema.get(word))


def _no_schema() -> UsageError:
    return UsageError(
        "`into` is no type that JSON can hold",
        hint="a Pydantic model, a type Pydantic knows, a JSON Schema, Regex(…) or Choices(…)",
    )


def _not_of_form() -> ValidationFailed:
    return ValidationFailed("the answer is not of the form asked for", cut_off=False)
