"""``lanai cloud up|status|scale|drain|rotate-keys|down``."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import require_ours
from cloud_node.cluster.plan import ClusterPlan, Profile
from cloud_node.cluster.rotation import rotate_keys as rotate
from cloud_node.cluster.scaling import MOST_NODES
from cloud_node.cluster.scaling import drain as drain_node
from cloud_node.cluster.scaling import scale as scale_to
from cloud_node.cluster.status import status as status_of
from cloud_node.cluster.trust import rotate_trust
from cloud_node.cluster.up import Started
from cloud_node.cluster.up import down as stop
from cloud_node.cluster.up import up as start
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["cloud"]

F = TypeVar("F", bound=Callable[..., Any])


def name_option(command: F) -> F:
    """The shared ``--name``; unset: the setting ``cluster``."""
    return click.option("--name", "cluster", help="which cluster (default: setting `cluster`)")(
        command
    )


@click.group(cls=Group)
def cloud() -> None:
    """Run a private-cloud cluster on this machine."""


@cloud.command()
@click.option(
    "--profile",
    type=click.Choice(["development", "production"]),
    help="development accepts software evidence and binds loopback (default: the setting)",
)
@name_option
@json_option
def up(profile: Profile | None, cluster: str | None, as_json: bool) -> None:
    """Start every part of a cluster and enrol this device in it."""
    folders = Folders.standard()
    settings = Settings.load(flags={"cluster": cluster, "profile": profile}).settings
    plan = ClusterPlan.make(settings, folders, profile=settings.profile or "development")
    layout = ClusterLayout.of(folders, settings.cluster)
    if plan.superseded:
        say(f"the catalog lists other weights now: `lanai models pull {settings.cloud_model}`")
    try:
        started = asyncio.run(start(folders, layout, plan, say=say))
    except asyncio.CancelledError:  # SIGTERM; everything is stopped again
        raise click.Abort from None
    _tell(layout, started)
    found = asyncio.run(status_of(layout))
    if as_json:
        timing = {"fresh": started.fresh, "seconds": started.seconds, "total_s": started.total_s}
        emit_json(found | {"started": timing})
    else:
        _show(found)


@cloud.command()
@name_option
@json_option
def status(cluster: str | None, as_json: bool) -> None:
    """Say of each part whether it runs and answers, and list the nodes."""
    found = asyncio.run(status_of(_layout(cluster)))
    if as_json:
        emit_json(found)
    else:
        _show(found)


@cloud.command()
@click.argument("nodes", type=click.IntRange(1, MOST_NODES))
@name_option
@json_option
def scale(nodes: int, cluster: str | None, as_json: bool) -> None:
    """Run NODES nodes. One that is taken away finishes what it has."""
    layout = _layout(cluster)
    asyncio.run(scale_to(layout, nodes))
    found = asyncio.run(status_of(layout))
    if as_json:
        emit_json(found)
    else:
        _show(found)


@cloud.command()
@click.argument("node")
@name_option
@json_option
def drain(node: str, cluster: str | None, as_json: bool) -> None:
    """Have NODE (its name, or the beginning of its id) take nothing new."""
    said = asyncio.run(drain_node(_layout(cluster), node))
    if as_json:
        emit_json(said.model_dump(mode="json"))
    else:
        click.echo(f"{node}  {said.state}  {said.live} live")


@cloud.command("rotate-keys")
@click.option(
    "--trust",
    "roles",
    multiple=True,
    type=click.Choice(["root", "targets", "snapshot", "timestamp"]),
    help="replace the keys of this role of the trust root instead; may be repeated",
)
@name_option
@json_option
def rotate_keys(roles: tuple[str, ...], cluster: str | None, as_json: bool) -> None:
    """Publish new keys of issuer and gateway. The old ones hold until their window ends.

    With --trust the keys that sign the trust root are replaced, at once and for good.
    """
    layout = _layout(cluster)
    if roles:
        version = rotate_trust(layout, roles)
        if as_json:
            emit_json({"name": layout.name, "trust_root": {"root": version, "roles": list(roles)}})
        else:
            click.echo(f"trust root: version {version} of its root, new keys of {', '.join(roles)}")
        return
    made = asyncio.run(rotate(layout))
    rotated = [
        {
            "purpose": record.purpose,
            "key_id": record.key_id.hex(),
            "not_before": record.not_before,
            "expires_at": record.expires_at,
        }
        for record in made
    ]
    if as_json:
        emit_json(asyncio.run(status_of(layout)) | {"rotated": rotated})
        return
    for record in made:
        window = f"from {record.not_before} to {record.expires_at}"
        click.echo(f"{record.purpose:<8} {record.key_id.hex()[:16]}  {window}")


@cloud.command()
@name_option
@json_option
def down(cluster: str | None, as_json: bool) -> None:
    """Stop everything `up` started. Keys, logs and the transparency log stay."""
    layout = _layout(cluster)
    stopped = asyncio.run(stop(layout, say=say))
    if as_json:
        emit_json({"name": layout.name, "stopped": stopped})
    elif not stopped:
        say(f"nothing of the cluster {layout.name} was running")


def _layout(cluster: str | None) -> ClusterLayout:
    name = Settings.load(flags={"cluster": cluster}).settings.cluster
    layout = ClusterLayout.of(Folders.standard(), name)
    require_ours(layout)
    return layout


def _tell(layout: ClusterLayout, started: Started) -> None:
    if not started.fresh:
        say(f"the cluster {layout.name} is running already")
    else:
        say(f"up in {started.total_s:.1f} s")
    if not started.enrolled:
        say("this device stays enrolled elsewhere")
        say(f"hint: its trust root is {layout.trust_root}")


def _show(found: dict[str, Any]) -> None:
    click.echo(f"cluster    {found['name']}  {found['profile']}")
    reason = f" ({found['isolation_reason']})" if found["isolation_reason"] else ""
    click.echo(f"isolation  {found['isolation']}{reason}")
    for role in ("relay", "gateway", "issuer", "log", "witness", "store"):
        part = found[role]
        state = "ready" if part["ready"] else "alive" if part["alive"] else "down"
        more = part.get("reason") or part.get("address", "")
        click.echo(f"{role:<10} {state:<6} {part.get('rss_mb', 0):>5} MB  {more}")
    if found["ray"] is not None:
        click.echo(f"{'ray':<10} {'ready' if found['ray'] else 'down'}")
    for node in found["nodes"]:
        evidence = node["evidence"] if node["verified"] else "not verified"
        identity, measurement = (node["id"] or "-")[:16], (node["measurement"] or "-")[:16]
        click.echo(
            f"{node['name']:<10} {node['state']:<8} {identity}  {evidence}  {measurement}  "
            f"{node['live_streams']} live"
        )
        pieces = "  ".join(f"{name} {pid}" for name, pid in node["pieces"].items())
        click.echo(f"{'':<10} {pieces or 'no process'}")
        if node["missing"]:
            click.echo(f"{'':<10} without: {', '.join(node['missing'])}")
