"""``lanai available`` and ``lanai doctor``: can it answer, and if not, what to do."""

import asyncio
from typing import TYPE_CHECKING

import click

from lanai.cli.output import emit_json, json_option
from lanai.folders import Folders

if TYPE_CHECKING:
    from device_agent.availability import Availability, PartState
    from device_agent.checkup import Check

__all__ = ["available", "doctor"]


@click.command()
@json_option
def available(as_json: bool) -> int:
    """Say whether device and cloud can answer now. Exit 0 when one can."""
    state = asyncio.run(_availability())
    if as_json:
        emit_json(state.to_json_dict())
    else:
        _print_part("device", state.device)
        _print_part("cloud", state.cloud)
        _print_lost(state.cloud)
    return 0 if state else 1


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check the installation, run the device model once. Exit 0 when the device is ready."""
    from device_agent.checkup import examine

    state, checks = asyncio.run(examine(Folders.standard()))
    if as_json:
        emit_json(state.to_json_dict() | {"checks": [check.to_json_dict() for check in checks]})
    else:
        _print_part("device", state.device)
        _print_part("cloud", state.cloud)
        _print_lost(state.cloud)
        for check in checks:
            _print_check(check)
    return 0 if state.device else 1


async def _availability() -> "Availability":
    from device_agent.agent import AsyncAgent

    async with AsyncAgent.from_config() as agent:
        return await agent.availability()


def _print_part(name: str, part: "PartState") -> None:
    click.echo(f"{name:<8}{'ready' if part.ready else 'not ready':<10} {part.reason}")
    if part.hint and not part.ready:
        click.echo(f"{'':<8}hint: {part.hint}")


def _print_lost(cloud: "PartState") -> None:
    """A token that brings no answer is a cost, and may be somebody's doing: it is always said."""
    lost: int = getattr(cloud, "tokens_lost", 0)
    if lost:
        click.echo(f"{'':<8}tokens lost: {lost}, sent without an answer")


def _print_check(check: "Check") -> None:
    click.echo(f"{'ok' if check.ok else 'fault':<6}{check.name:<14} {check.reason}")
    if check.hint and not check.ok:
        click.echo(f"{'':<6}hint: {check.hint}")
