"""``lanai log``: what this device knows of the transparency log, and a replay of all of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from lanai.cli.group import Group
from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import CloudUnavailable, TrustError, UsageError
from lanai.folders import Folders

if TYPE_CHECKING:
    from trust.bundle import Checkpoint, LogProof
    from trust.log.published import FileReader
    from trust.root import TrustRoot
    from trust.witnessed import SignedCheckpoint

__all__ = ["log"]

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
policy_option = click.option(
    "--policy", type=existing, metavar="FILE", help="a trust root instead of the enrolled one"
)


@click.group(cls=Group)
def log() -> None:
    """Look at the transparency log that names every release a node may run."""


@log.command()
@policy_option
@json_option
def show(policy: Path | None, as_json: bool) -> int:
    """Print the newest checkpoint this device verified and stored, and who cosigned it."""
    from device_agent.enrolment import checkpoints, trust_root

    root = trust_root(policy)
    store = checkpoints(root, Folders.standard())
    seen = store.newest()
    if seen is None:
        raise CloudUnavailable(
            "no checkpoint is stored yet", hint="the first request to the cloud stores one"
        )
    note = store.note()
    if note is None:
        say("its cosignatures were not kept: the next newer checkpoint brings them")
        _print(seen, [], {"quorum": root.quorum}, as_json=as_json)
        return 0
    try:
        signed = _signed(root, note)
    except TrustError as error:
        return _refused(error, as_json=as_json)
    _print_signed(signed, {"quorum": root.quorum}, as_json=as_json)
    return 0


@log.command()
@click.argument("file", type=click.File("rb"))
@click.option("--leaf", type=existing, help="a release record that FILE's proof must be for")
@policy_option
@json_option
def verify(file: IO[bytes], leaf: Path | None, policy: Path | None, as_json: bool) -> int:
    """Verify FILE (- for stdin): a signed checkpoint, or a tlog-proof, of the enrolled log.

    Asks for the log's signature and a quorum of witnesses, not for freshness: their times are
    printed. Exit 10 when it is refused.
    """
    from device_agent.enrolment import trust_root

    root = trust_root(policy)
    try:
        note, proof = _note_and_proof(file)
        signed = _signed(root, note)
        if leaf is not None:
            _check_leaf(leaf, proof, signed)
    except TrustError as error:
        return _refused(error, as_json=as_json)
    details = {"verified": True, "reasons": [], "leaf": None if proof is None else proof.index}
    _print_signed(signed, details, as_json=as_json)
    return 0


@log.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--url", metavar="URL", help="read from a web server: URL/checkpoint, URL/tile/…")
@policy_option
@json_option
def audit(folder: Path | None, url: str | None, policy: Path | None, as_json: bool) -> int:
    """Replay the whole log: every leaf, every tile, every key, and what this device stored.

    FOLDER holds the log's tiles; without it and --url, the log is read through the relay. What was
    found in order is remembered. Exit 10 when it is refused.
    """
    from device_agent.enrolment import checkpoints, trust_root

    if folder is not None and url is not None:
        raise UsageError("a folder or --url, not both", hint="lanai log audit --help")
    root = trust_root(policy)
    store = checkpoints(root, Folders.standard())
    try:
        seen = store.newest()
        with _source(root, folder, url) as files:
            note, signed, details = _replayed(root, files, seen)
        store.advance(signed.checkpoint, note=note)
    except TrustError as error:
        return _refused(error, as_json=as_json)
    _print_signed(signed, details, as_json=as_json)
    return 0


def _replayed(
    root: "TrustRoot", files: "FileReader", seen: "Checkpoint | None"
) -> "tuple[bytes, SignedCheckpoint, dict[str, Any]]":
    """The checkpoint's note, what it says, and what was found. Raises ``TrustError``."""
    from trust.audit import PURPOSES, audit_log
    from trust.key_windows import most_at_once
    from trust.log.published import check_tiles, published_leaves
    from trust.log.sources import read_checkpoint

    note = read_checkpoint(files)
    signed = _signed(root, note, now=time.time())
    audited = audit_log(
        signed,
        published_leaves(files, signed.checkpoint.size),
        seen=seen,
        key_max_lifetime_s=root.key_max_lifetime_s,
    )
    details = {
        "verified": True,
        "reasons": [],
        "tiles": check_tiles(files, audited.tree),
        "releases": len(audited.releases),
        "keys": {
            purpose: {
                "records": len(audited.keys_of(purpose)),
                "most_at_once": most_at_once(audited.keys_of(purpose)),
            }
            for purpose in PURPOSES
        },
        "unreadable": audited.unreadable,
        "stored_size": None if seen is None else seen.size,
    }
    return note, signed, details


@contextmanager
def _source(root: "TrustRoot", folder: Path | None, url: str | None) -> "Iterator[FileReader]":
    from trust.log.sources import FolderSource, HttpSource

    if folder is not None:
        yield FolderSource(folder)
    elif url is not None:
        yield HttpSource(url)
    else:
        from device_agent.log_sources import RelaySource
        from device_agent.relay_view import RelayView

        with RelayView(root, Folders.standard().state / "checkpoints") as view:
            yield RelaySource(view)


def _signed(root: "TrustRoot", note: bytes, *, now: float | None = None) -> "SignedCheckpoint":
    from trust.witnessed import CheckpointVerifier

    verifier = CheckpointVerifier(root)
    signed = verifier.open(note)
    verifier.require_quorum(signed, now=now)
    return signed


def _note_and_proof(file: IO[bytes]) -> "tuple[bytes, LogProof | None]":
    from trust.log.notes import MAX_NOTE_BYTES
    from trust.log.proof import HEADER, parse_proof

    data = file.read(2 * MAX_NOTE_BYTES + 1)
    if not data.startswith(HEADER.encode()):
        return data, None
    proof = parse_proof(data)
    return proof.checkpoint, proof


def _check_leaf(leaf: Path, proof: "LogProof | None", signed: "SignedCheckpoint") -> None:
    from trust.log.merkle import leaf_hash, verify_inclusion

    if proof is None:
        raise UsageError("a checkpoint alone proves no leaf", hint="give a tlog-proof file")
    verify_inclusion(
        leaf_hash(leaf.read_bytes()),
        index=proof.index,
        size=signed.checkpoint.size,
        proof=proof.hashes,
        root=signed.checkpoint.root,
    )


def _refused(error: TrustError, *, as_json: bool) -> int:
    if as_json:
        nothing: dict[str, Any] = {"size": None, "root": None, "witnesses": []}
        emit_json({"verified": False, "reasons": [error.reason.value], **nothing})
    complain(error.message, hint=error.hint)
    return error.exit_code


def _print_signed(signed: "SignedCheckpoint", details: dict[str, Any], *, as_json: bool) -> None:
    names = sorted(signed.cosigned)
    times = {"cosigned_at": {name: signed.cosigned[name] for name in names}}
    _print(signed.checkpoint, names, details | times, as_json=as_json)


def _print(
    checkpoint: "Checkpoint", witnesses: list[str], details: dict[str, Any], *, as_json: bool
) -> None:
    if as_json:
        head = {"size": checkpoint.size, "root": checkpoint.root.hex(), "witnesses": witnesses}
        emit_json({"origin": checkpoint.origin, **head, **details})
        return
    click.echo(f"{checkpoint.origin}: {checkpoint.size} leaves, root {checkpoint.root.hex()}")
    times = details.get("cosigned_at", {})
    for name in witnesses:
        click.echo(f"  {name}" + (f"  cosigned at {times[name]}" if name in times else ""))
    if "releases" in details:
        _print_leaves(details)


def _print_leaves(details: dict[str, Any]) -> None:
    click.echo(f"{details['tiles']} tiles, {details['releases']} releases")
    for purpose, found in details["keys"].items():
        click.echo(f"{purpose}: {found['records']} keys, at most {found['most_at_once']} at once")
    if details["unreadable"]:
        click.echo(f"{details['unreadable']} other leaves")
    if details["stored_size"] is None:
        say("nothing was stored to compare with")
