"""Settings: flags > environment > ``./lanai.toml`` > the user's ``lanai.toml`` > defaults.

Keys carry their unit in the name. An unknown key, in a file or as ``LANAI_*`` in the environment,
is a ``ConfigError``. ``Settings.load`` also returns where each value came from.

Of our own making, and not pydantic-settings: that one takes the environment of the process alone,
passes over variables it does not know, and does not tell which layer a value is of. What it would
leave us to write is the merging below.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lanai.errors import ConfigError
from lanai.folders import Folders

__all__ = ["LoadedSettings", "Settings"]

FILE_NAME = "lanai.toml"
PREFIX = "LANAI_"
# Read by the packages themselves before settings exist; not settings keys.
RESERVED = frozenset({"LANAI_HOME", "LANAI_DATA"})


class Settings(BaseModel):
    """Every setting, flat. Names end in their unit where they have one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["development", "production"] | None = Field(
        None, description="refuse a trust root of any other profile; unset: as enrolled"
    )
    mode: Literal[
        "auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud"
    ] = Field("auto", description="where requests may run when the call does not say")
    device_model: str = Field("smollm2-135m-instruct", description="catalog name, folder or GGUF")
    device_draft_model: str | None = Field(
        None, description="a smaller model of the same tokens that guesses for it; unset: none"
    )
    device_threads: int = Field(2, ge=1, le=256, description="CPU threads the device engine uses")
    device_context_tokens: int = Field(2048, ge=64, description="device context, prompt and answer")
    cloud_model: str = Field("gemma-3-270m", description="model that `lanai cloud up` serves")
    cloud_context_tokens: int = Field(8192, ge=64, description="context of one node request")
    cloud_threads: int = Field(2, ge=1, le=256, description="CPU threads a node's engine uses")
    cluster: str = Field(
        "default", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="name of the local cluster"
    )
    cloud_uids: str = Field(
        "2000000000-2000524287",
        pattern=r"^\d{1,10}-\d{1,10}$",
        description="users, by number, for the parts of clusters that root starts; 16 for each",
    )
    cloud_timeout_s: float = Field(120.0, gt=0, description="deadline of one cloud request")
    cloud_stream_shape: Literal["padded", "constant"] = Field(
        "padded", description="what an answer's sizes and times show; constant: its class of length"
    )
    seal_to_nodes: int = Field(3, ge=1, le=16, description="K: nodes a request is sealed to")
    token_batch: int = Field(16, ge=1, le=256, description="anonymous tokens fetched at once")
    max_concurrent_requests: int = Field(
        32, ge=1, le=1024, description="requests an agent runs at once; more wait in turn"
    )
    concurrency_wait_s: float = Field(
        30.0, ge=0, description="how long one waits for its turn before it fails as busy"
    )
    guard_prompts: bool = Field(
        False, description="refuse prompts by the shipped check (docs/guardrails.md says how well)"
    )
    max_output_tokens: int = Field(256, ge=1, description="answer length when the call is silent")
    policy_file: Path | None = Field(None, description="routing policy (TOML); unset: the shipped")
    shadow_policy_file: Path | None = Field(
        None, description="a second policy, recorded beside the first; it never acts"
    )
    estimator_file: Path | None = Field(
        None, description="what `lanai route train --out` wrote; unset: the shipped"
    )
    external_url: str | None = Field(
        None,
        description="base of an OpenAI-compatible endpoint outside, never attested; unset: none",
    )
    external_model: str | None = Field(None, description="the model asked for there")
    external_key_file: Path | None = Field(None, description="file with its bearer key")
    external_key_variable: str | None = Field(
        None, description="or the name of the environment variable that holds the key"
    )
    external_timeout_s: float = Field(60.0, gt=0, description="deadline of one request there")
    trace_keep_days: int = Field(
        30, ge=1, le=3650, description="days a trace is kept; the newest 10,000 at most"
    )
    ledger_keep_content: bool = Field(
        False, description="write what left into the ledger too, in the clear, for its owner's eyes"
    )
    ledger_keep_days: int | None = Field(
        None, ge=1, le=36500, description="days a disclosure is kept; unset: for ever"
    )
    serve_host: str = Field("127.0.0.1", description="address `lanai serve` binds")
    serve_port: int = Field(8431, ge=0, le=65535, description="port of `lanai serve`; 0: any free")
    serve_requests: int = Field(8, ge=1, le=1024, description="requests it answers at once")
    serve_key_file: Path | None = Field(
        None, description="file with the bearer key its clients must send; unset: none needed"
    )
    serve_origins: tuple[str, ...] = Field(
        (), description="web origins whose pages it answers, such as http://localhost:8000"
    )

    @field_validator("serve_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """The environment has no lists: words between commas."""
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @staticmethod
    def files(folders: Folders, working_folder: Path | None = None) -> tuple[Path, Path]:
        """Where `load` looks, whether they are there or not; the first wins."""
        return (working_folder or Path.cwd()) / FILE_NAME, folders.config / FILE_NAME

    @classmethod
    def load(
        cls,
        *,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
        folders: Folders | None = None,
        working_folder: Path | None = None,
    ) -> "LoadedSettings":
        """Merge every layer. Raises ``ConfigError`` naming the layer and key at fault."""
        folders = folders or Folders.standard(environ)
        files = reversed(cls.files(folders, working_folder))
        values: dict[str, Any] = {}
        origins = dict.fromkeys(cls.model_fields, "default")
        layers = (
            *_file_layers(*files),
            ("environment", _environment(environ)),
            ("flag", {k: v for k, v in (flags or {}).items() if v is not None}),
        )
        for origin, layer in layers:
            for key, value in layer.items():
                if key not in cls.model_fields:
                    raise ConfigError(
                        f"unknown setting {key!r} ({origin})",
                        hint="`lanai config show` lists every key",
                    )
                values[key], origins[key] = value, origin
        try:
            return LoadedSettings(cls.model_validate(values), origins)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            key = str(first["loc"][0])
            raise ConfigError(
                f"setting {key!r} ({origins[key]}): {first['msg'].lower()}",
                hint=f"{key}: {cls.model_fields[key].description}",
            ) from None


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings and, for each key, the layer that set it."""

    settings: Settings
    origins: Mapping[str, str]


def _file_layers(*paths: Path) -> list[tuple[str, dict[str, Any]]]:
    layers = []
    for path in paths:
        try:
            layers.append((str(path), tomllib.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(
                f"cannot read {path}: {error}", hint="fix or remove the file"
            ) from None
    return layers


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in RESERVED
    }
