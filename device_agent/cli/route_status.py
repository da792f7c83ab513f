"""``lanai route status``: what the next decision starts from."""

import time
from typing import TYPE_CHECKING, Any

import click

from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders

if TYPE_CHECKING:
    from router.estimator import Estimator
    from router.experience import Experience

__all__ = ["status"]


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show policy, estimator, weight and budget, usual seconds, device state and drift."""
    from device_agent.remembering import Memory, experience_path
    from device_agent.routing import router_of
    from device_agent.surroundings import LinuxSurroundings
    from lanai.settings import Settings

    folders = Folders.standard()
    router = router_of(Settings.load(folders=folders).settings, folders)
    memory = Memory(experience_path(folders))
    standing, state = memory.standing(router), LinuxSurroundings().state()
    experience, watch = memory.experience, memory.experience.watch
    found: dict[str, Any] = {
        "policy": router.policy.digest,
        "estimator": router.estimator.digest if router.estimator else None,
        "calibrator": router.estimator.calibrator_digest if router.estimator else None,
        "weight": router.policy.costs.weight if standing.weight is None else standing.weight,
        "money_left": standing.money_left,
        "clock_jumps": experience.pace.jumps if experience.pace else 0,
        "device_s": standing.device_s,
        "cloud_s": standing.cloud_s,
        "requests": experience.requests,
        "wasted_calls": experience.wasted,
        "device": {
            "battery": state.battery,
            "charging": state.charging,
            "heat": state.heat,
            "online": state.online,
        },
        "drift": None
        if watch is None
        else {
            "drifted": watch.drifted,
            "distance": watch.distance,
            "limit": watch.limit,
            "windows": watch.windows,
            "alarms": watch.alarms,
            "waiting": len(watch.recent),
        },
        "grades": _grades(experience, router.estimator),
        "at": time.time(),
    }
    if as_json:
        emit_json(found)
    else:
        _say(found)


def _say(found: dict[str, Any]) -> None:
    for name in ("policy", "estimator", "calibrator"):
        click.echo(f"{name:<12} {(found[name] or 'none')[:12]}")
    money = "" if found["money_left"] is None else f", {found['money_left']:g} of money left today"
    click.echo(f"{'weight':<12} {found['weight']:.4g}{money}")
    for side in ("device", "cloud"):
        seconds = found[f"{side}_s"]
        click.echo(f"{side:<12} {'not known' if seconds is None else f'{seconds:.2f} s an answer'}")
    known = [f"{name} {value}" for name, value in found["device"].items() if value is not None]
    click.echo(f"{'hardware':<12} {', '.join(known) or 'nothing is known'}")
    click.echo(f"{'drift':<12} {_drift(found['drift'])}")
    for row in found["grades"]:
        said = f"regret of {row['alpha']:g}"
        click.echo(f"{said:<12} {_graded(row)}")


def _grades(experience: "Experience", estimator: "Estimator | None") -> list[dict[str, Any]]:
    """Of each claim of this estimator that somebody graded requests under."""
    watches = experience.grades_of(estimator).watches if estimator else ()
    return [
        {
            "alpha": watch.alpha,
            "graded": watch.graded,
            "regrets": watch.regrets,
            "windows": watch.windows,
            "refuted": watch.refuted,
        }
        for watch in watches
    ]


def _graded(row: dict[str, Any]) -> str:
    word = "refuted: claimed no more" if row["refuted"] else "not refuted"
    return f"{word} ({row['regrets']} regrets in the last {row['graded']})"


def _drift(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return "no decision to compare yet"
    if drift["distance"] is None:
        return f"{drift['waiting']} decisions, no whole window yet"
    word = "drifted: no bound is claimed" if drift["drifted"] else "none"
    return f"{word} (distance {drift['distance']:.3f}, limit {drift['limit']:.3f})"
