"""``--external`` of `lanai respond` and `lanai chat`: the endpoint outside, asked for by name.

The command's user is the app here: each request that would go there is shown first, and goes only
after a yes on the terminal, or with ``--yes``. Where nobody can be asked, nothing goes.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import click

from lanai.cli.output import say

if TYPE_CHECKING:
    from device_agent.departure import Approve, Proposal
    from device_agent.reply import Reply

__all__ = ["asker", "external_options", "why_not_outside"]

P = ParamSpec("P")
R = TypeVar("R")

_HINTS: Final = {
    "external_not_public": "--data-class public, for what anybody may read",
    "external_not_configured": "set external_url and external_model (docs/external.md)",
}


def external_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--external`` and ``--yes``."""
    external = click.option(
        "--external",
        type=click.Choice(("first", "last")),
        help="ask the endpoint outside, never attested: before device and cloud, or after",
    )
    yes = click.option("--yes", is_flag=True, help="what is public may go there unasked")
    return external(yes(command))


def asker(external: str | None, *, yes: bool) -> "Approve | None":
    """The session's ``approve``; ``None`` where nothing outside is asked for."""
    return None if external is None else _Asker(yes)


class _Asker:
    """Shows what would go outside. What goes to the attested cloud was settled by the rules."""

    def __init__(self, yes: bool) -> None:
        self._yes = yes

    async def __call__(self, proposal: "Proposal") -> bool:
        if proposal.destination != "external":
            return True
        told = f"{proposal.bytes} bytes of {proposal.data_class} data to {proposal.endpoint}"
        if self._yes:
            say(f"sending {told}")
            return True
        if not sys.stdin.isatty():
            say(f"not sent, since nobody can be asked: {told}; --yes says yes")
            return False
        return await asyncio.to_thread(click.confirm, f"send {told}?", err=True)


def why_not_outside(reply: "Reply[Any]") -> str | None:
    """A line where a rule kept from outside what was asked for there."""
    refused = (rule.reason for rule in reply.decision.rules if rule.allows_external is False)
    reason = next(filter(None, refused), None)
    if reason is None:
        return None
    hint = _HINTS.get(reason.value)
    return f"not asked outside: {reason}" + (f"; {hint}" if hint else "")
