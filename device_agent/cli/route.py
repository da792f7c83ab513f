"""``lanai route``: explain decisions, judge, calibrate and train routers."""

import click

from device_agent.cli.route_calibrate import calibrate
from device_agent.cli.route_eval import evaluate
from device_agent.cli.route_grade import grade
from device_agent.cli.route_replay import replay
from device_agent.cli.route_status import status
from device_agent.cli.route_train import train
from device_agent.traces import TraceStore, traces_path
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders
from router.refusal import read_record

__all__ = ["route"]


@click.group(cls=Group)
def route() -> None:
    """Explain routing decisions; judge, calibrate and train routers."""


route.add_command(evaluate)
route.add_command(calibrate)
route.add_command(train)
route.add_command(replay)
route.add_command(status)
route.add_command(grade)


@route.command()
@click.argument("trace_id")
@json_option
def explain(trace_id: str, as_json: bool) -> None:
    """Say where the request TRACE_ID ran and why. A prefix that names one trace is enough."""
    store = TraceStore.open(traces_path(Folders.standard()))
    try:
        record = read_record(store.decision(trace_id))
    finally:
        store.close()
    if as_json:
        emit_json(record.to_json_dict())
    else:
        click.echo(record.explain())
