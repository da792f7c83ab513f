"""``lanai route replay``: what another policy would have changed."""

from pathlib import Path
from typing import Any

import click

from device_agent.traces import TraceStore, traces_path
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders

__all__ = ["replay"]

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("trace_ids", nargs=-1, metavar="[TRACE_ID]...")
@click.option("--policy", type=_file, help="another policy, TOML (default: the shipped one)")
@click.option("--estimator", type=_file, help="the estimator that weighed, if not the shipped one")
@click.option("--last", default=1000, show_default=True, help="so many traces, if none is named")
@json_option
def replay(
    trace_ids: tuple[str, ...],
    policy: Path | None,
    estimator: Path | None,
    last: int,
    as_json: bool,
) -> None:
    """Decide stored requests again under --policy, by the signals their decisions carry."""
    from router import LogisticEstimator, Policy, shipped_estimator
    from router.replay import replay as again
    from router.replay import summary

    weighed = LogisticEstimator.load(estimator) if estimator else shipped_estimator()
    found = summary(again(_stored(trace_ids, last), Policy.load(policy), weighed))
    if as_json:
        emit_json(found)
    else:
        _say(found)


def _stored(trace_ids: tuple[str, ...], last: int) -> "list[tuple[str, Any]]":
    from router import Decision

    store = TraceStore.open(traces_path(Folders.standard()))
    try:
        traces = [store.find(each) for each in trace_ids] or list(store.traces(last))
    finally:
        store.close()
    return [
        (each.trace_id, Decision.from_json_dict(each.decision))
        for each in traces
        if each.decision is not None
    ]


def _say(found: dict[str, Any]) -> None:
    for each in found["changed"]:
        click.echo(
            f"{each['trace_id'][:12]}  {each['was']} -> {each['now'] or 'no route'}"
            f"  expected {each['expected_gain']:+.3f}"
        )
    click.echo(
        f"{len(found['changed'])} of {found['decisions']} decisions change; in the cloud "
        f"{found['cloud_before']} -> {found['cloud_after']}; expected good answers "
        f"{found['expected_gain']:+.2f}; not replayed: {found['not_replayed']}"
    )
