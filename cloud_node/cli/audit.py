"""``lanai audit canary|soak``: proof, by looking, that a running cluster keeps nothing."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from cloud_node.audit.canary import Report
from cloud_node.audit.canary import canary as run_canary
from cloud_node.audit.soak import SoakReport
from cloud_node.audit.soak import soak as run_soak
from cloud_node.cli.cloud import name_option
from cloud_node.cluster.layout import ClusterLayout
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["audit"]

PLACES_SHOWN = 5


@click.group(cls=Group)
def audit() -> None:
    """Check that a running cluster keeps no state, from the outside and as root."""


@audit.command()
@click.option("--requests", type=click.IntRange(1), default=52, show_default=True)
@click.option("--seed", type=int, default=0, help="order of requests; marks are always random")
@name_option
@json_option
def canary(requests: int, seed: int, cluster: str | None, as_json: bool) -> None:
    """Send marked requests through the cluster, then search every surface for the marks."""
    with _progress() as note:
        report = asyncio.run(run_canary(_layout(cluster), requests=requests, seed=seed, note=note))
    if as_json:
        emit_json(report.to_json())
    else:
        _show(report)
    if report.problems:
        sys.exit(1)


@audit.command()
@click.option("--requests", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--warm-up", type=click.IntRange(0), default=400, show_default=True)
@name_option
@json_option
def soak(requests: int, warm_up: int, cluster: str | None, as_json: bool) -> None:
    """Send many requests; processes, descriptors and memory of each piece must not grow."""
    layout = _layout(cluster)
    with _progress() as note:
        report = asyncio.run(run_soak(layout, requests=requests, warm_up=warm_up, note=note))
    if as_json:
        emit_json(report.to_json())
    else:
        _show_soak(report)
    if report.problems:
        sys.exit(1)


def _layout(cluster: str | None) -> ClusterLayout:
    name = Settings.load(flags={"cluster": cluster}).settings.cluster
    return ClusterLayout.of(Folders.standard(), name)


def _show(report: Report) -> None:
    said: dict[str, Any] = report.to_json()
    for surface in report.surfaces:
        state = "not read" if surface.error else str(surface.hits)
        click.echo(f"{surface.name:<44} {surface.bytes_searched / 1e6:>10.1f} MB  {state:>8}")
        for place in surface.places[:PLACES_SHOWN]:
            mark = place["mark"] or "a mark"
            click.echo(f"    {place['count']} × {mark} as {place['form']} in {place['where']}")
    control = said["positive_control"]
    for part, hits in control.items():
        click.echo(f"{f'live {part} (must hit)':<44} {'':>13}  {hits:>8}")
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report.sent.items()))
    click.echo(f"requests: {kinds}")
    speed = said["bytes_searched"] / 1e6 / max(report.search_s, 1e-3)
    click.echo(f"searched {said['bytes_searched'] / 1e6:.0f} MB at {speed:.0f} MB/s")
    swap, core = said["machine"]["swap_used_bytes"], said["machine"]["core_pattern"]
    click.echo(f"swap in use: {swap} bytes; crashes are written to: {core}")
    for problem in report.problems:
        click.echo(f"NOT CLEAN  {problem}")
    if not report.problems:
        click.echo("clean: no mark outside a live worker and a live engine")


def _show_soak(report: SoakReport) -> None:
    click.echo(f"{'':<40}{'processes':>12}{'descriptors':>14}{'memory (MB)':>18}")
    for piece in report.to_json()["pieces"]:
        processes = " → ".join(map(str, piece["processes"]))
        descriptors = " → ".join(map(str, piece["descriptors"]))
        memory = " → ".join(f"{size / 1e6:.1f}" for size in piece["memory_bytes"])
        click.echo(f"{piece['name']:<40}{processes:>12}{descriptors:>14}{memory:>18}")
    click.echo(f"{report.requests} requests in {report.seconds:.0f} s")
    for problem in report.problems:
        click.echo(f"NOT THE SAME  {problem}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being done, on a terminal's last line."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda line: bars.update(task, description=line)
