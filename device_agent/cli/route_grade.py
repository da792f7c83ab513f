"""``lanai route grade``: say afterwards whether an answer was right."""

import click

from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders

__all__ = ["grade"]

_WORDS = click.Choice(["right", "wrong"])


@click.command()
@click.argument("trace_id")
@click.option("--device", type=_WORDS, help="the device's answer")
@click.option("--cloud", type=_WORDS, help="the cloud's, where it was asked too")
@json_option
def grade(trace_id: str, device: str | None, cloud: str | None, as_json: bool) -> None:
    """Say whether the answer of TRACE_ID was right; bounds that grades refute are claimed no more.

    A prefix that names one trace is enough. Grade requests drawn at random, not complaints: a bound
    is about requests as they come.
    """
    from device_agent.grades import grade as judge
    from device_agent.remembering import Memory, experience_path
    from device_agent.routing import router_of
    from device_agent.traces import TraceStore, traces_path
    from lanai.settings import Settings
    from router.recorded import Graded

    folders = Folders.standard()
    router = router_of(Settings.load(folders=folders).settings, folders)
    memory, store = Memory(experience_path(folders)), TraceStore.open(traces_path(folders))
    graded = Graded(device_good=_good(device), cloud_good=_good(cloud))
    try:
        decision = judge(store, memory, router, trace_id, graded)
    finally:
        store.close()
    if as_json:
        emit_json(decision.to_json_dict())
    else:
        say(f"graded {decision.id or trace_id}")


def _good(word: str | None) -> bool | None:
    return None if word is None else word == "right"
