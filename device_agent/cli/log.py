"""``lanai log``: what this device knows of the transparency log, and a replay of all of it."""

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import CloudUnavailable, ConfigError, TrustError, UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from device_agent.log_sources import LogSource
    from trust.bundle import Checkpoint, LogProof
    from trust.root import TrustRoot
    from trust.witnessed import SignedCheckpoint

__all__ = ["log"]

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
policy_option = click.option(
    "--policy", type=existing, metavar="FILE", help="a trust root instead of the enrolled one"
)


@click.group()
def log() -> None:
    """Look at the transparency log that names every release a node may run."""


@log.command()
@policy_option
@json_option
def show(policy: Path | None, as_json: bool) -> None:
    """Print the newest checkpoint this device verified and stored.

    ``witnesses`` are those the trust root names; at least ``quorum`` of them cosigned it.
    """
    from device_agent.enrolment import stored_checkpoint, trust_root

    root = trust_root(policy)
    seen = stored_checkpoint(root, Folders.standard())
    if seen is None:
        raise CloudUnavailable(
            "no checkpoint is stored yet", hint="the first request to the cloud stores one"
        )
    names = [key.name for key in root.witness_verifiers]
    _print(seen, names, {"quorum": root.quorum}, as_json=as_json)


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
@click.option("--log", "address", metavar="HOST:PORT", help="read from the log's service")
@click.option("--certificate", type=existing, help="the one certificate it must show (PEM)")
@policy_option
@json_option
def audit(
    folder: Path | None,
    address: str | None,
    certificate: Path | None,
    policy: Path | None,
    as_json: bool,
) -> int:
    """Replay the whole log and compare it with its checkpoint and with what this device stored.

    FOLDER holds the log's tiles; without it and --log, the local cluster's are read.
    """
    from device_agent.enrolment import stored_checkpoint, trust_root
    from trust.audit import audit_log

    root = trust_root(policy)
    source = _source(folder, address, certificate)
    seen = stored_checkpoint(root, Folders.standard())
    try:
        signed = _signed(root, source.checkpoint(), now=time.time())
        audited = audit_log(
            signed,
            source.leaves(signed.checkpoint.size),
            seen=seen,
            key_max_lifetime_s=root.key_max_lifetime_s,
        )
    except TrustError as error:
        return _refused(error, as_json=as_json)
    details = {
        "verified": True,
        "reasons": [],
        "releases": len(audited.releases),
        "unreadable": audited.unreadable,
        "stored_size": None if seen is None else seen.size,
    }
    _print_signed(signed, details, as_json=as_json)
    return 0


def _source(folder: Path | None, address: str | None, certificate: Path | None) -> "LogSource":
    from device_agent.log_sources import FolderSource, GrpcSource
    from trust.root import Endpoint

    if address is None:
        if certificate is not None:
            raise UsageError("--certificate belongs to --log", hint="lanai log audit --help")
        return FolderSource(folder or _local_log())
    if folder is not None or certificate is None:
        raise UsageError("--log takes a --certificate and no folder", hint="lanai log audit --help")
    try:
        pem = certificate.read_text(encoding="ascii")
        return GrpcSource(Endpoint(address=address, certificate=pem))
    except (OSError, UnicodeDecodeError, TrustError) as error:
        raise ConfigError(
            "the log's address or certificate is not usable", hint="host:port, and one PEM block"
        ) from error


def _local_log() -> Path:
    folders = Folders.standard()
    return folders.state / "clusters" / Settings.load(folders=folders).settings.cluster / "log"


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
        click.echo(f"{details['releases']} releases, {details['unreadable']} other leaves")
        if details["stored_size"] is None:
            say("nothing was stored to compare with")
