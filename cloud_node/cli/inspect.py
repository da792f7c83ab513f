"""``lanai cloud node --inspect``: run a published release on one's own machine, and look at it."""

import asyncio
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cloud_node.inspection import (
    EVENTS,
    Comparison,
    InspectedNode,
    LogCopy,
    MeasuredHere,
    compare,
)
from cloud_node.inspection import open_inspection as start
from cloud_node.node.config import NodeConfig
from inference.catalog import Catalog
from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import (
    CloudUnavailable,
    EvidenceRejected,
    Rejection,
    TrustError,
    UsageError,
)
from lanai.folders import Folders
from lanai.settings import Settings
from trust.attestation.configuration import MeasuredSettings
from trust.log.published import FileReader
from trust.log.sources import FolderSource, HttpSource
from trust.root import TrustRoot
from trust.strict import read_object
from trust.updates.enrolled import admitted_root

__all__ = ["node"]

MAX_CONFIG_CHARACTERS = 256 * 1024
WATCH_S = 0.5
SHOWN_EVENTS = 8
existing = click.Path(exists=True, dir_okay=False, path_type=Path)
folder_type = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was found on this machine and in the log, before anything runs."""

    root: TrustRoot
    log: LogCopy
    settings: MeasuredSettings
    model_folder: Path
    comparison: Comparison
    threads: int


@click.command()
@click.option("--inspect", is_flag=True, help="run a node on this machine, to look at")
@click.option("--log", "log_folder", type=folder_type, help="the log's tiles, as a folder")
@click.option("--url", metavar="URL", help="the log's tiles at a web server: URL/checkpoint, …")
@click.option(
    "--policy", type=existing, metavar="FILE", help="a trust root instead of the enrolled one"
)
@click.option("--model", help="name or folder of the model (default: the setting cloud_model)")
@click.option(
    "--config", type=existing, help="measured settings (JSON), where they are not a node's usual"
)
@click.option("--release", type=click.IntRange(0), metavar="INDEX", help="only this leaf")
@json_option
def node(
    inspect: bool,
    log_folder: Path | None,
    url: str | None,
    policy: Path | None,
    model: str | None,
    config: Path | None,
    release: int | None,
    as_json: bool,
) -> int:
    """Run a published release here, with --inspect, until told to stop.

    What is installed is measured and looked for in the log; exit 10 when it is not there, or when
    the log is refused. Then a whole node serves on loopback. Its keys and its store are its own,
    and no device of the trust root takes it for one of the operator's.
    """
    if not inspect or (log_folder is None) == (url is None):
        raise UsageError(
            "give --inspect, and the log as --log FOLDER or --url URL",
            hint="nodes of a cluster are started by `lanai cloud up` and `scale`",
        )
    files = HttpSource(url) if url is not None else FolderSource(log_folder or Path())
    try:
        asked = _measured(files, policy, model, config, release)
    except TrustError as error:
        return _refused(error, {}, as_json=as_json)
    if not asked.comparison.published:
        return _refused(_not_in_the_log(asked.comparison), _found(asked), as_json=as_json)
    asyncio.run(_run(asked, as_json=as_json))
    return 0


def _measured(
    files: FileReader,
    policy: Path | None,
    model: str | None,
    config: Path | None,
    release: int | None,
) -> _Asked:
    """Read the log, measure what is installed. Raises ``TrustError`` for what is not in order."""
    folders = Folders.standard()
    settings = Settings.load(folders=folders).settings
    root = admitted_root(folders, policy, profile=settings.profile)
    log = LogCopy(root, files)
    releases = log.read().releases
    folder = Catalog(folders.models).find(model or settings.cloud_model).path
    measured = _settings(root, config)
    say("measuring what is installed")
    here = MeasuredHere.of(folder, measured)
    return _Asked(
        root=root,
        log=log,
        settings=measured,
        model_folder=folder.resolve(),
        comparison=compare(here, releases, index=release),
        threads=settings.cloud_threads,
    )


def _settings(root: TrustRoot, config: Path | None) -> MeasuredSettings:
    """Those of the file, and a node's usual ones. Model and context are the record's to say."""
    names = ("key_lifetime_s", "max_live", "request_timeout_s")
    usual = {name: NodeConfig.model_fields[name].default for name in names}
    text = "{}" if config is None else config.read_bytes().decode("utf-8", "replace")
    given = read_object(text, limit=MAX_CONFIG_CHARACTERS)
    fixed = {"model_name": "of-the-record", "context_tokens": 64}
    return MeasuredSettings.of({"profile": root.profile, **usual, **given, **fixed})


def _not_in_the_log(comparison: Comparison) -> EvidenceRejected:
    return EvidenceRejected(
        f"not in the log: {' and '.join(comparison.differs)} here differ from"
        f" leaf {comparison.index}, the closest there is",
        reason=Rejection.MEASUREMENT,
        hint="install exactly what a record names: docs/verify-a-release.md says how to compare",
    )


def _found(asked: _Asked) -> dict[str, Any]:
    """What is known before anything runs."""
    comparison, signed = asked.comparison, asked.log.signed
    here = comparison.here
    return {
        "published": comparison.published,
        "release": comparison.index,
        "differs": list(comparison.differs),
        "reasons": [],
        "measurement": here.digest(),
        "software": here.software,
        "weights": here.weights,
        "configuration": here.configuration,
        "model": here.model,
        "context_tokens": here.context_tokens,
        "log": {
            "origin": signed.checkpoint.origin,
            "size": signed.checkpoint.size,
            "root": signed.checkpoint.root.hex(),
            "witnesses": sorted(signed.cosigned),
        },
    }


def _refused(error: TrustError, found: dict[str, Any], *, as_json: bool) -> int:
    values = {"published": False, **found, "reasons": [error.reason.value]}
    if as_json:
        emit_json(values)
    else:
        _show(values)
    complain(error.message, hint=error.hint)
    return error.exit_code


async def _run(asked: _Asked, *, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises ``CloudUnavailable`` when the node gives up."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # A short path: sockets live below it.
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:
        try:
            await _serve(asked, Path(name), stopping, as_json=as_json)
        except CloudUnavailable:
            # Its folder goes with it, and somebody has to know what was in there.
            for line in _last_events(Path(name)):
                say(line)
            raise


async def _serve(asked: _Asked, folder: Path, stopping: asyncio.Event, *, as_json: bool) -> None:
    async with start(
        folder,
        asked.comparison,
        asked.settings,
        asked.log,
        asked.root,
        model_folder=asked.model_folder,
        threads=asked.threads,
    ) as inspected:
        _tell(asked, inspected, as_json=as_json)
        while not stopping.is_set():
            if inspected.died:
                raise CloudUnavailable("the node gave up", hint="its last events say why")
            await _wait(stopping, WATCH_S)


def _last_events(folder: Path) -> list[str]:
    path = folder / EVENTS
    return path.read_text(encoding="utf-8").splitlines()[-SHOWN_EVENTS:] if path.exists() else []


def _tell(asked: _Asked, node: InspectedNode, *, as_json: bool) -> None:
    values = _found(asked) | {
        "accepted": not node.reasons,
        "reasons": list(node.reasons),
        "evidence": "+".join(node.bundle.evidence_kinds),
        "address": node.tree.address,
        "node": node.bundle.node_id.hex(),
        "pieces": {"launcher": os.getpid(), **node.tree.pieces, "store": node.store_pid},
        "missing": node.tree.missing,
        "bundle": str(node.bundle_file),
        "unsafe_trust_root": str(node.root_file),
        "events": str(node.events_file),
    }
    if as_json:
        emit_json(values)
    else:
        _show(values)
    say("this is not one of the operator's nodes: a device of this trust root refuses its evidence")
    say("it serves until it is interrupted; everything it made goes with it")


def _show(values: dict[str, Any]) -> None:
    width = max(map(len, values))
    for name, value in values.items():
        match value:
            case dict():
                shown = "  ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
            case _:
                shown = _plain(value)
        click.echo(f"{name:<{width}}  {shown or '-'}")


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
