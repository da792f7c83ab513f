"""``lanai attest``: measure this installation, look at a node's bundle, verify one."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import TrustError
from lanai.folders import Folders

if TYPE_CHECKING:
    from trust.bundle import NodeBundle
    from trust.verification import VerifiedNode

__all__ = ["attest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one of the commands found out: the keys every one of them prints, and its own."""

    verified: bool
    evidence: str | None
    measurement: str | None
    reasons: tuple[str, ...] = ()
    details: dict[str, str | int]

    def show(self, *, as_json: bool) -> None:
        """Print to stdout."""
        values = {
            "verified": self.verified,
            "evidence": self.evidence,
            "measurement": self.measurement,
            "reasons": list(self.reasons),
            **self.details,
        }
        if as_json:
            emit_json(values)
            return
        width = max(map(len, values))
        for name, value in values.items():
            shown = " ".join(value) if isinstance(value, list) else value
            click.echo(f"{name:<{width}}  {'-' if shown in (None, '') else shown}")


@click.group()
def attest() -> None:
    """Measure, show and verify what a node says it runs."""


@attest.command()
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="measure a model folder too",
)
@json_option
def measure(model: Path | None, as_json: bool) -> None:
    """Print the digest of the software installed here, as a release record names it.

    Nobody attests it: it is for comparing with a record in the log.
    """
    from trust.attestation import measure_folder, measure_software

    software = measure_software()
    details: dict[str, str | int] = {"software": software}
    if model is not None:
        details["weights"] = measure_folder(model)
    Finding(verified=False, evidence=None, measurement=software, details=details).show(
        as_json=as_json
    )


@attest.command()
@click.argument("bundle", type=click.File("rb"))
@json_option
def show(bundle: IO[bytes], as_json: bool) -> None:
    """Print what BUNDLE (a serialized NodeBundle, or - for stdin) claims, unverified."""
    claimed = _read(bundle)
    say("nothing here is verified: `lanai attest verify` does that")
    Finding(
        verified=False,
        evidence="+".join(claimed.evidence_kinds),
        measurement=claimed.release.digest(),
        details=_claims(claimed),
    ).show(as_json=as_json)


@attest.command()
@click.argument("bundle", type=click.File("rb"))
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="a trust root instead of the enrolled one",
)
@json_option
def verify(bundle: IO[bytes], policy: Path | None, as_json: bool) -> int:
    """Verify BUNDLE as before a request. Exit 0 when the device would seal to it, 10 when not."""
    claimed: NodeBundle | None = None
    try:
        claimed = _read(bundle)
        node, compared = _verified(claimed, policy)
    except TrustError as error:
        Finding(
            verified=False,
            evidence="+".join(claimed.evidence_kinds) if claimed else None,
            measurement=claimed.release.digest() if claimed else None,
            reasons=(error.reason.value,),
            details={},
        ).show(as_json=as_json)
        complain(error.message, hint=error.hint)
        return error.exit_code
    if not compared:
        say("not compared with the stored checkpoint: that needs the log's proof")
    Finding(
        verified=True,
        evidence=node.evidence_kind,
        measurement=node.measurement,
        details=_claims(claimed) | {"log_size": node.checkpoint.size},
    ).show(as_json=as_json)
    return 0


def _verified(bundle: "NodeBundle", policy: Path | None) -> "tuple[VerifiedNode, bool]":
    """The node, and whether its checkpoint was compared with the one this device stored."""
    from device_agent.enrolment import stored_checkpoint, trust_root
    from trust.verification import NodeVerifier

    root = trust_root(policy)
    verifier = NodeVerifier(root, clock=time.time)
    seen = stored_checkpoint(root, Folders.standard())
    if verifier.consistency_needed(bundle, seen) is not None:
        return verifier.verify(bundle), False
    return verifier.verify(bundle, seen=seen), seen is not None


def _read(file: IO[bytes]) -> "NodeBundle":
    from trust.bundle import MAX_BUNDLE_BYTES, NodeBundle

    # One byte more than allowed, so that a longer file is refused and not cut.
    return NodeBundle.parse(file.read(MAX_BUNDLE_BYTES + 1))


def _claims(bundle: "NodeBundle") -> dict[str, str | int]:
    return {
        "node": bundle.node_id.hex(),
        "model": bundle.release.model,
        "context_tokens": bundle.release.context_tokens,
        "software": bundle.release.software,
        "weights": bundle.release.weights,
        "configuration": bundle.release.configuration,
        "not_before": bundle.not_before,
        "expires_at": bundle.expires_at,
    }
