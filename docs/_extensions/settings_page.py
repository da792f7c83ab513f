"""The directive ``settings-list``: every key of `Settings`, from the model itself."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx

from lanai.settings import PREFIX, Settings

UNITS = {"_s": "seconds", "_days": "days", "_tokens": "tokens", "_port": "TCP port"}
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


class SettingsList(Directive):
    """One definition for each key."""

    def run(self) -> list[nodes.Node]:
        lines = [
            line
            for name, field in Settings.model_fields.items()
            for line in (*entry(name, field), "")
        ]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "settings"), self.content_offset, holder)
        return list(holder.children)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("settings-list", SettingsList)
    return {"parallel_read_safe": True}


def entry(name: str, field: FieldInfo) -> list[str]:
    """A heading-like term and its facts, as reStructuredText."""
    facts = {
        "Type": kind(field),
        "Unit": unit(name),
        "Default": default(field),
        "Environment": f"``{PREFIX}{name.upper()}``",
    }
    rows = [f"   :{word}: {value}" for word, value in facts.items() if value]
    return [f".. _setting-{name.replace('_', '-')}:", "", f"``{name}``",
            f"   {field.description}", "", *rows]  # fmt: skip


def kind(field: FieldInfo) -> str:
    """The type in words, with the bounds the model checks."""
    bounds = [
        f"{sign} {value}"
        for limit in field.metadata
        for word, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        if (value := getattr(limit, word, None)) is not None
    ]
    return ", ".join([named(field.annotation), *bounds])


def named(annotation: Any) -> str:
    """One type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"``{word}``" for word in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(named(each) for each in inside if each is not type(None))
    if origin is tuple:
        return "a list of texts; in the environment, with commas between"
    return PLAIN[annotation]


def unit(name: str) -> str | None:
    return next((word for ending, word in UNITS.items() if name.endswith(ending)), None)


def default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value is PydanticUndefined:
        return "unset"
    return "none" if value == () else f"``{value}``"
