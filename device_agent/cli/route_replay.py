"""``lanai route replay``: what another policy would have changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.retention import DAY, read_clocks
from device_agent.traces import TraceStore, traces_path
from lanai.cli.output import emit_json, json_option
from lanai.errors import RouteError
from lanai.folders import Folders

if TYPE_CHECKING:
    from router import Decision, Estimator

__all__ = ["replay"]

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("trace_ids", nargs=-1, metavar="[TRACE_ID]...")
@click.option("--policy", type=_file, help="another policy, TOML (default: the shipped one)")
@click.option(
    "--estimator", type=_file, help="the estimator that weighed (default: that of the settings)"
)
@click.option("--last", default=1000, show_default=True, help="so many traces, if none is named")
@click.option(
    "--days", type=click.FloatRange(0), help="only of so many days, if none is named; 7: a week's"
)
@json_option
def replay(
    trace_ids: tuple[str, ...],
    policy: Path | None,
    estimator: Path | None,
    last: int,
    days: float | None,
    as_json: bool,
) -> None:
    """Decide stored requests again under --policy, by the signals their decisions carry."""
    from router import Policy
    from router.replay import replay as again
    from router.replay import summary

    stored = _stored(trace_ids, last, days)
    found = summary(again(stored.decisions, Policy.load(policy), _weighed_by(estimator)))
    found |= {"refused": stored.refused, "unreadable": stored.unreadable}
    if as_json:
        emit_json(found)
    else:
        _say(found)


def _weighed_by(path: Path | None) -> "Estimator":
    from device_agent.routing import router_of
    from lanai.settings import Settings
    from router import LogisticEstimator, shipped_estimator

    if path is not None:
        return LogisticEstimator.load(path)
    folders = Folders.standard()
    router = router_of(Settings.load(folders=folders).settings, folders)
    return router.estimator or shipped_estimator()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    decisions: "list[tuple[str, Decision]]"
    refused: int
    """Requests that ran nowhere."""
    unreadable: int
    """Records that are damaged, or of another version."""


def _stored(trace_ids: tuple[str, ...], last: int, days: float | None) -> _Stored:
    from router.refusal import Refusal, read_record

    store = TraceStore.open(traces_path(Folders.standard()))
    try:
        since_ns = 0 if days is None else store.now_ns(read_clocks()) - int(days * DAY)
        named = [store.find(each) for each in trace_ids]
        traces = named or store.traces(last, since_ns=since_ns)
    finally:
        store.close()
    decisions, refused, unreadable = list[tuple[str, "Decision"]](), 0, 0
    for trace in traces:
        try:
            record = None if trace.decision is None else read_record(trace.decision)
        except RouteError:
            unreadable += 1
            continue
        if isinstance(record, Refusal):
            refused += 1
        elif record is not None:
            decisions.append((trace.trace_id, record))
    return _Stored(decisions=decisions, refused=refused, unreadable=unreadable)


def _say(found: dict[str, Any]) -> None:
    for each in found["changed"]:
        click.echo(
            f"{each['trace_id'][:12]}  {each['was']} -> {each['now'] or 'no route'}"
            f"  expected {each['expected_gain']:+.3f}"
        )
    click.echo(
        f"{len(found['changed'])} of {found['decisions']} decisions change; "
        f"not replayed: {found['not_replayed']}"
    )
    click.echo(
        f"in the cloud {found['cloud_before']} -> {found['cloud_after']}; "
        f"money {found['money_before']:g} -> {found['money_after']:g}; "
        f"expected good answers {found['expected_gain']:+.2f}"
    )
    if found["refused"] or found["unreadable"]:
        click.echo(f"ran nowhere: {found['refused']}; not readable: {found['unreadable']}")
