"""``lanai attest``: measure this installation, look at a node's bundle, verify one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from lanai.cli.group import Group
from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import CloudUnavailable, TrustError, UsageError
from lanai.folders import Folders

if TYPE_CHECKING:
    from device_agent.relay_view import RelayView
    from trust.attestation import Release
    from trust.bundle import NodeBundle
    from trust.root import TrustRoot
    from trust.verification import VerifiedNode

__all__ = ["attest"]

MAX_CONFIG_CHARACTERS = 256 * 1024
F = TypeVar("F", bound=Callable[..., Any])
folder_type = click.Path(exists=True, file_okay=False, path_type=Path)


def fetch_options(command: F) -> F:
    """``--fetch``, ``--node`` and ``--out``: a bundle from the relay instead of a file."""
    options = (
        click.option("--fetch", is_flag=True, help="fetch a bundle through the relay"),
        click.option("--node", default="", metavar="ID", help="of the node whose id begins so"),
        click.option(
            "--out", type=click.Path(dir_okay=False, path_type=Path), help="keep the bundle here"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


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


@click.group(cls=Group)
def attest() -> None:
    """Measure, show and verify what a node says it runs."""


@attest.command()
@click.option("--model", type=folder_type, help="measure this model folder")
@click.option("--tree", type=folder_type, help="packages installed here (default: this program's)")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a node's configuration: prints the whole release record",
)
@click.option(
    "--golden",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="what hardware evidence must measure (JSON: kind, name, value), for the record",
)
@json_option
def measure(
    model: Path | None,
    tree: Path | None,
    config: Path | None,
    golden: Path | None,
    as_json: bool,
) -> None:
    """Compute what a release record says, from files: the same files give the same digests.

    Nobody attests it: it is for comparing with a record in the log.
    """
    from trust.attestation import measure_folder, measure_software

    if config is not None:
        release = _measured(config, model, tree, golden)
        details: dict[str, str | int] = {
            **_release_claims(release),
            "record": release.canonical().decode("ascii"),
        }
        found = release.digest()
    else:
        found = measure_software(tree=tree)
        details = {"software": found}
        if model is not None:
            details["weights"] = measure_folder(model)
    Finding(verified=False, evidence=None, measurement=found, details=details).show(as_json=as_json)


@attest.command()
@click.argument("bundle", type=click.File("rb"), required=False)
@fetch_options
@json_option
def show(bundle: IO[bytes] | None, fetch: bool, node: str, out: Path | None, as_json: bool) -> None:
    """Print what BUNDLE (a serialized NodeBundle, or - for stdin) claims, unverified."""
    from device_agent.enrolment import trust_root

    if fetch and bundle is None:
        with _view(trust_root()) as view:
            claimed = _fetched(view, node)
    else:
        claimed = _read(_given(bundle, fetch))
    if out is not None:
        out.write_bytes(claimed.serialize())
    say("nothing here is verified: `lanai attest verify` does that")
    Finding(
        verified=False,
        evidence="+".join(claimed.evidence_kinds),
        measurement=claimed.release.digest(),
        details=_claims(claimed),
    ).show(as_json=as_json)


@attest.command()
@click.argument("bundle", type=click.File("rb"), required=False)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="a trust root instead of the enrolled one",
)
@fetch_options
@json_option
def verify(
    bundle: IO[bytes] | None,
    policy: Path | None,
    fetch: bool,
    node: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Verify BUNDLE as before a request. Exit 0 when the device would seal to it, 10 when not.

    When this device stored another checkpoint of the log, the proof that both are of one history is
    fetched through the relay.
    """
    from device_agent.enrolment import trust_root

    claimed: NodeBundle | None = None
    try:
        root = trust_root(policy)
        with _view(root) as view:
            claimed = (
                _fetched(view, node) if fetch and bundle is None else _read(_given(bundle, fetch))
            )
            if out is not None:
                out.write_bytes(claimed.serialize())
            verified = _verified(claimed, root, view)
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
    Finding(
        verified=True,
        evidence=verified.evidence_kind,
        measurement=verified.measurement,
        details=_claims(claimed) | {"log_size": verified.checkpoint.size},
    ).show(as_json=as_json)
    return 0


def _verified(bundle: "NodeBundle", root: "TrustRoot", view: "RelayView") -> "VerifiedNode":
    """The node, judged beside what this device stored of the log. Raises as a request would."""
    from device_agent.enrolment import checkpoints
    from trust.verification import NodeVerifier

    verifier = NodeVerifier(root, clock=time.time)
    seen = checkpoints(root, Folders.standard()).newest()
    sizes = verifier.consistency_needed(bundle, seen)
    proof = () if sizes is None else view.consistency(*sizes)
    return verifier.verify(bundle, seen=seen, consistency=proof)


def _view(root: "TrustRoot") -> "RelayView":
    """Connects when something is asked of it, and not before."""
    from device_agent.relay_view import RelayView

    return RelayView(root, Folders.standard().state / "checkpoints")


def _given(bundle: IO[bytes] | None, fetch: bool) -> IO[bytes]:
    if bundle is None or fetch:
        raise UsageError("give a bundle's file, or --fetch", hint="lanai attest verify --help")
    return bundle


def _fetched(view: "RelayView", node: str) -> "NodeBundle":
    """The one node whose id begins so; the first of all when nothing is said."""
    found = [bundle for bundle in view.bundles() if bundle.node_id.hex().startswith(node)]
    if not found:
        raise CloudUnavailable("the gateway shows no such node", hint="see `lanai cloud status`")
    return found[0]


def _measured(
    config: Path, model: Path | None, tree: Path | None, golden: Path | None
) -> "Release":
    """The record a node of this configuration would have. Raises ``TrustError``."""
    from trust.attestation import Release, measure_folder, measure_software
    from trust.attestation.configuration import MeasuredSettings, measure_configuration
    from trust.strict import malformed

    values = _object(config)
    settings, folder = MeasuredSettings.of(values), model or values.get("model_folder")
    if not isinstance(folder, str | Path):
        raise malformed("the configuration names no model folder")
    expected = values.get("golden", {}) if golden is None else _object(golden)
    return Release(
        software=measure_software(tree=tree),
        weights=measure_folder(Path(folder)),
        configuration=measure_configuration(settings, tree=tree),
        model=settings.model_name,
        context_tokens=settings.context_tokens,
        golden=expected,  # type: ignore[arg-type]  # it checks
    )


def _object(path: Path) -> dict[str, object]:
    from trust.strict import read_object

    return read_object(path.read_bytes().decode("utf-8", "replace"), limit=MAX_CONFIG_CHARACTERS)


def _read(file: IO[bytes]) -> "NodeBundle":
    from trust.bundle import MAX_BUNDLE_BYTES, NodeBundle

    # One byte more than allowed, so that a longer file is refused and not cut.
    return NodeBundle.parse(file.read(MAX_BUNDLE_BYTES + 1))


def _claims(bundle: "NodeBundle") -> dict[str, str | int]:
    return {
        "node": bundle.node_id.hex(),
        **_release_claims(bundle.release),
        "not_before": bundle.not_before,
        "expires_at": bundle.expires_at,
    }


def _release_claims(release: "Release") -> dict[str, str | int]:
    return {
        "model": release.model,
        "context_tokens": release.context_tokens,
        "software": release.software,
        "weights": release.weights,
        "configuration": release.configuration,
    }
